"use client";

import { Button } from "@/components/button";
import { Row, Small } from "@/components/layout";
import { useSession, useSignOut } from "@/lib/queries/session";

/** Whose session this is, and the way out of it. Nothing where nobody had to sign in. */
export function Who() {
  const session = useSession();
  const signOut = useSignOut();
  if (session.data?.door !== "session") return null;
  const { account, actor, scope } = session.data;
  const by = actor.startsWith("oidc:") ? "identity provider" : `key ${actor}`;
  return (
    <Row gap={10}>
      <Small title={`${scope}, ${by}`}>{account}</Small>
      <Button onClick={() => signOut.mutate()} disabled={signOut.isPending}>
        Sign out
      </Button>
    </Row>
  );
}
