export type Fault = { pointer: string; detail: string };

/** A refusal in the API's own words. Status 0 means that no reply came. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly faults: Fault[] = [],
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** From the body of a reply, which is a problem (RFC 9457) unless something between us answered. */
  static of(status: number, body: unknown): ApiError {
    const problem = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
    const detail = typeof problem.detail === "string" ? problem.detail : `The API answered ${status}.`;
    return new ApiError(status, detail, Array.isArray(problem.errors) ? problem.errors.filter(isFault) : []);
  }

  /** Whether nobody knows who asks: one has to sign in. */
  get isUnauthenticated(): boolean {
    return this.status === 401;
  }

  /** Whether asking again may help: the request itself was not refused. */
  get isPassing(): boolean {
    return this.status === 0 || this.status >= 500;
  }
}

export function unreachable(cause: unknown): ApiError {
  if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
  return new ApiError(0, "The API does not answer. This page tries again by itself.");
}

/** What to tell people about anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isFault(value: unknown): value is Fault {
  const fault = value as Partial<Fault> | null;
  return typeof fault?.pointer === "string" && typeof fault.detail === "string";
}
