import createClient from "openapi-fetch";

import { ApiError, unreachable } from "./error";
import type { paths } from "./schema";

/** The API of the server that served this page. Its paths and forms come from the OpenAPI document. */
export const client = createClient<paths>({ baseUrl: "/" });

type Outcome<Data> = { data?: Data; error?: unknown; response: Response };

/** The body of a reply. Throws ApiError for a refusal, and when nobody answers. */
export async function bodyOf<Data>(request: Promise<Outcome<Data>>): Promise<Data> {
  const outcome = await request.catch((cause: unknown) => {
    throw unreachable(cause);
  });
  if (outcome.data === undefined) throw ApiError.of(outcome.response.status, outcome.error);
  return outcome.data;
}
