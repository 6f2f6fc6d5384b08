"use client";

import type { ReactNode } from "react";

import { SignIn } from "@/features/session/sign-in";
import { ApiError } from "@/lib/api/error";
import { useSession } from "@/lib/queries/session";

/** The page, unless the API has said that one has to sign in first. */
export function SignedIn({ children }: { children: ReactNode }) {
  const { error } = useSession();
  return error instanceof ApiError && error.isUnauthenticated ? <SignIn /> : children;
}
