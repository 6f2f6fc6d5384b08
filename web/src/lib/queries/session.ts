import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { bodyOf, client, done, setCsrfToken } from "@/lib/api/client";

import { keys } from "./keys";

const PATH = "/api/v1/session";

/** Who this page asks for. Refused with 401 where one has to sign in first. */
export function useSession() {
  return useQuery({
    queryKey: keys.session,
    queryFn: async ({ signal }) => {
      const session = await bodyOf(client.GET(PATH, { signal }));
      setCsrfToken(session.csrf_token);
      return session;
    },
    staleTime: 60_000,
  });
}

/** How one can sign in beside keys. */
export function useSignInWays() {
  return useQuery({
    queryKey: keys.signInWays,
    queryFn: ({ signal }) => bodyOf(client.GET("/auth", { signal })),
    staleTime: Infinity,
  });
}

/** Sign in with a key; everything is asked anew afterwards. */
export function useSignIn() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (key: string) => bodyOf(client.POST(PATH, { body: { key } })),
    onSuccess: (session) => {
      setCsrfToken(session.csrf_token);
      queries.setQueryData(keys.session, session);
      return queries.invalidateQueries();
    },
  });
}

/** End the session; nothing of what it showed is kept. */
export function useSignOut() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: () => done(client.DELETE(PATH)),
    onSuccess: () => {
      setCsrfToken(null);
      queries.clear();
      window.location.reload();
    },
  });
}
