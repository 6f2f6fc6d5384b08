/** What a job was asked for, as far as its free-form parameters say. */
export type Params = {
  model: string | null;
  scenes: string[];
  acceptGsdMismatch: boolean;
  reuse: boolean;
  serial: boolean;
  maxCloudFraction: number | null;
};

export function paramsOf(params: Record<string, unknown>): Params {
  const scenes = Array.isArray(params.scenes) ? params.scenes : [];
  return {
    model: typeof params.model === "string" ? params.model : null,
    scenes: scenes.filter((scene) => typeof scene === "string"),
    acceptGsdMismatch: params.accept_gsd_mismatch === true,
    reuse: params.reuse !== false,
    maxCloudFraction: typeof params.max_cloud_fraction === "number" ? params.max_cloud_fraction : null,
    serial: params.mode === "serial",
  };
}
