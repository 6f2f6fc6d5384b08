"use client";

import styled from "@emotion/styled";
import { type FormEvent, useState } from "react";

import { Button } from "@/components/button";
import { Card, CardBody } from "@/components/card";
import { Field, Input } from "@/components/field";
import { Mono, Stack } from "@/components/layout";
import { Logo } from "@/components/logo";
import { Notice } from "@/components/notice";
import { messageOf } from "@/lib/api/error";
import { useSignIn } from "@/lib/queries/session";

const Middle = styled.main`
  display: flex;
  flex-direction: column;
  gap: 20px;
  width: min(440px, 100% - 28px);
  margin: 14vh auto 48px;
`;

const Brand = styled.h1`
  display: flex;
  align-items: center;
  justify-content: center;
  gap: 10px;
  font-size: 20px;
  font-weight: 700;
`;

/** Where one says who one is. The key is sent once and kept nowhere in the browser. */
export function SignIn() {
  const [key, setKey] = useState("");
  const signIn = useSignIn();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate(key.trim());
  };
  return (
    <Middle>
      <Brand>
        <Logo /> Constellation
      </Brand>
      <Card title="Sign in">
        <CardBody>
          <form onSubmit={submit}>
            <Stack gap={14}>
              <Field
                label="Key"
                hint={
                  <>
                    It begins with <Mono>cst_</Mono>. Whoever runs this Constellation makes one with{" "}
                    <Mono>constellation keys create</Mono>.
                  </>
                }
              >
                <Input
                  type="password"
                  name="key"
                  autoComplete="current-password"
                  required
                  autoFocus
                  maxLength={200}
                  value={key}
                  onChange={(event) => setKey(event.target.value)}
                />
              </Field>
              {signIn.error && (
                <Notice tone="bad" assertive>
                  {messageOf(signIn.error)}
                </Notice>
              )}
              <Button look="primary" type="submit" disabled={signIn.isPending || key.trim() === ""}>
                {signIn.isPending ? "Signing in" : "Sign in"}
              </Button>
            </Stack>
          </form>
        </CardBody>
      </Card>
    </Middle>
  );
}
