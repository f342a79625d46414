export { EngineClient, type EnginePort } from "./client.ts"
export type { CallParts, Engine, EngineCall, EngineStats } from "./engine.ts"
export { EngineHost, type EngineHostParts, type EngineModel } from "./host.ts"
export { choosePlan, countWeights, planBytes, type StoragePlan } from "./memory-plan.ts"
export {
  type CallAction,
  type Command,
  DEVICES,
  type Device,
  type EngineEvent,
  errorFromData,
  errorToData,
  type LoadOptions,
  type ModelInfo,
  QUANTIZE_KINDS,
  type QuantizeKind,
  WEB_DEVICES,
  type WebDevice,
  type WebLoadOptions,
  type WebModelPlace,
} from "./messages.ts"
export { IDLE, type QueueLoad, StepQueue } from "./step-queue.ts"
