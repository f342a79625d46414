/**
 * @file Voice activity: the probability of speech in each 32 ms of sound, by the Silero model (versions 5 and 6). State goes
 * in and comes out as plain data. When a turn begins and ends is `turn-detector.ts`.
 * Source: `OnnxWrapper` of silero-vad (utils_vad.py): each window is preceded by the last 64 samples of the one before.
 */
import { checkFinite } from "../audio/index.ts"
import type { OnnxModel } from "../runtime/index.ts"
import { f32, type HostTensor, tensor } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"

export const VAD_SAMPLE_RATE_HZ = 16_000
/** Samples of one window: 32 ms. */
export const VAD_WINDOW_SAMPLES = 512

const CONTEXT_SAMPLES = 64
const HIDDEN_SHAPE = [2, 1, 128]
const HIDDEN_SIZE = 256

/** Where a stream stands; plain data, may be copied with `structuredClone`. Never changed in place. */
export type VadState = {
  /** Samples that do not fill a window yet.  // [< 512] */
  readonly pending: Float32Array
  /** Samples before `pending`.  // [64] */
  readonly context: Float32Array
  /** Of the recurrent network.  // [2, 1, 128] */
  readonly hidden: Float32Array
}

/** The detector; it holds no stream, so one serves all. */
export type Vad = {
  init(): VadState
  /**
   * @param pcm mono samples at 16 kHz, any number  // [N]
   * @returns a probability in [0, 1] for each window that is complete now, and the state for the next step
   * @throws InputError when a sample is NaN or infinite; BackendError when the model fails. The given state stays valid.
   */
  step(state: VadState, pcm: Float32Array): Promise<[probabilities: Float32Array, state: VadState]>
}

/** @throws CheckpointError when the model has other inputs and outputs than Silero 5 and 6 */
export function createVad(model: OnnxModel): Vad {
  checkNames("inputs", model.inputNames, ["input", "state", "sr"])
  checkNames("outputs", model.outputNames, ["output", "stateN"])
  const rate = tensor("i64", [], BigInt64Array.of(BigInt(VAD_SAMPLE_RATE_HZ)))

  return {
    init: () => ({
      pending: new Float32Array(0),
      context: new Float32Array(CONTEXT_SAMPLES),
      hidden: new Float32Array(HIDDEN_SIZE),
    }),
    async step(state, pcm) {
      checkFinite(pcm, "vad")
      // One row: context, what was pending, what is new. Each window with its context is then one stretch of it.
      const sound = new Float32Array(CONTEXT_SAMPLES + state.pending.length + pcm.length)
      sound.set(state.context)
      sound.set(state.pending, CONTEXT_SAMPLES)
      sound.set(pcm, CONTEXT_SAMPLES + state.pending.length)
      const windows = Math.floor((sound.length - CONTEXT_SAMPLES) / VAD_WINDOW_SAMPLES)
      const probabilities = new Float32Array(windows)
      let hidden: HostTensor = f32(HIDDEN_SHAPE, state.hidden)
      for (let window = 0; window < windows; window++) {
        const start = window * VAD_WINDOW_SAMPLES
        const input = f32([1, CONTEXT_SAMPLES + VAD_WINDOW_SAMPLES], stretch(sound, start))
        const { output, stateN } = await model.run({ input, state: hidden, sr: rate })
        probabilities[window] = Number(output!.data[0])
        hidden = stateN!
      }
      const done = windows * VAD_WINDOW_SAMPLES
      const next = {
        pending: sound.slice(done + CONTEXT_SAMPLES),
        context: sound.slice(done, done + CONTEXT_SAMPLES),
        hidden: hidden.data as Float32Array,
      }
      return [probabilities, next]
    },
  }
}

function stretch(sound: Float32Array, start: number): Float32Array {
  return sound.subarray(start, start + CONTEXT_SAMPLES + VAD_WINDOW_SAMPLES)
}

function checkNames(what: string, got: readonly string[], expected: readonly string[]): void {
  if ([...got].sort().join() === [...expected].sort().join()) return
  const advice = "take silero_vad_v5.onnx or silero_vad_v6.onnx"
  throw new CheckpointError(`vad: expected the ${what} ${expected.join(", ")}, got ${got.join(", ")} (${advice})`)
}
