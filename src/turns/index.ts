export { createTurnDetector, type TurnDetector, type TurnEvent, type TurnState } from "./turn-detector.ts"
export {
  DEFAULT_TURN_OPTIONS,
  DEMO_SERVER_TURN_OPTIONS,
  type Eagerness,
  eagernessSilenceMs,
  type TurnOptions,
  turnOptions,
} from "./turn-options.ts"
export { createVad, VAD_SAMPLE_RATE_HZ, VAD_WINDOW_SAMPLES, type Vad, type VadState } from "./vad.ts"
