/**
 * @file The only door to the engine's repository: wire events and sound. Relative, since a link of the root package into its
 * own workspace is a cycle for npm (docs/decisions/0015).
 */
export {
  concatPcm,
  createResampler,
  encodePcm,
  int16ToFloat,
  type Resampler,
  resample,
  writeWav,
} from "../../src/audio/index.ts"
export {
  parseServerEvent,
  printEvent,
  type RealtimeClientEvent,
  type RealtimeItem,
  type RealtimeServerEvent,
  type RealtimeSessionUpdate,
} from "../../src/protocol/index.ts"
