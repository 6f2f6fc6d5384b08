import type { components } from "./schema";

type Schemas = components["schemas"];

export type Job = Schemas["JobReply"];
export type JobDetail = Schemas["JobDetail"];
export type JobRequest = Schemas["JobRequest"];
export type JobState = Schemas["JobState"];
export type Run = Schemas["RunReply"];
export type RunState = Schemas["RunState"];
export type Gpu = Schemas["GpuReply"];
export type Scene = Schemas["SceneReply"];
export type Model = Schemas["ModelReply"];
export type Quote = Schemas["Quote"];
