/** @file What the library exports on every platform, beside its class and what depends on the platform's inputs. */
export { concatPcm, floatToInt16, readWavMono, writeWav } from "./audio/index.ts"
export type { EngineStats, ModelInfo } from "./engine/index.ts"
export type { RgbaImage, RgbImage } from "./image/index.ts"
export type { LoadProgress } from "./omni.loaded.ts"
export type {
  AnswerEvent,
  AnswerFormat,
  AnswerOptions,
  AnswerTimings,
  AnswerUsage,
  Behaviour,
  CallEvent,
  FinishReason,
  Interruption,
  RespondOptions,
  Tool,
  ToolCall,
  TurnOptions,
} from "./session/index.ts"
export { BackendError, CheckpointError, ConfigError, InputError, OmniError } from "./util/index.ts"
