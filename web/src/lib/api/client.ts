import createClient, { type Middleware } from "openapi-fetch";

import { ApiError, unreachable } from "./error";
import type { paths } from "./schema";

const READS = ["GET", "HEAD", "OPTIONS"];

let csrfToken: string | null = null;

/** What this page says beside its session's cookie from now on, whenever it asks for a change. */
export function setCsrfToken(token: string | null): void {
  csrfToken = token;
}

const csrf: Middleware = {
  onRequest({ request }) {
    if (csrfToken !== null && !READS.includes(request.method)) request.headers.set("X-CSRF-Token", csrfToken);
    return request;
  },
};

/** The API of the server that served this page. Its paths and forms come from the OpenAPI document. */
export const client = createClient<paths>({ baseUrl: "/" });
client.use(csrf);

type Outcome<Data> = { data?: Data; error?: unknown; response: Response };

/** The body of a reply. Throws ApiError for a refusal, and when nobody answers. */
export async function bodyOf<Data>(request: Promise<Outcome<Data>>): Promise<Data> {
  const outcome = await request.catch((cause: unknown) => {
    throw unreachable(cause);
  });
  if (outcome.data === undefined) throw ApiError.of(outcome.response.status, outcome.error);
  return outcome.data;
}

/** Wait for a reply that has no body. Throws as `bodyOf` does. */
export async function done(request: Promise<Outcome<unknown>>): Promise<void> {
  const outcome = await request.catch((cause: unknown) => {
    throw unreachable(cause);
  });
  if (!outcome.response.ok) throw ApiError.of(outcome.response.status, outcome.error);
}
