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
import { useSignIn, useSignInWays } from "@/lib/queries/session";

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

const Or = styled.p`
  display: flex;
  align-items: center;
  gap: 12px;
  margin: 0;
  color: var(--muted);
  font-size: 13px;

  &::before,
  &::after {
    content: "";
    flex: 1;
    border-top: 1px solid var(--line);
  }
`;

/** The way to the identity provider, and back to this page. Nothing where there is none. */
function Provider() {
  const name = useSignInWays().data?.oidc_name;
  if (!name) return null;
  const lead = () => {
    const here = window.location.pathname + window.location.search;
    window.location.assign(`/auth/oidc/login?next=${encodeURIComponent(here)}`);
  };
  return (
    <>
      <Button look="primary" type="button" onClick={lead}>
        Sign in with {name}
      </Button>
      <Or>or with a key</Or>
    </>
  );
}

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
              <Provider />
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
