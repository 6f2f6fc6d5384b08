/** Names of cached answers. A shorter key covers every longer one that begins with it. */
export const keys = {
  jobs: ["jobs"] as const,
  job: (id: string) => ["job", id] as const,
  gpus: ["gpus"] as const,
  scenes: ["scenes"] as const,
  models: ["models"] as const,
  about: ["about"] as const,
  session: ["session"] as const,
  signInWays: ["sign-in-ways"] as const,
};
