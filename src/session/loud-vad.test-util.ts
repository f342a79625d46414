/** @file Voice activity without a model: loud windows are speech. */
import { VAD_WINDOW_SAMPLES, type Vad } from "../turns/index.ts"

const NOTHING = new Float32Array(0)

export const loudVad: Vad = {
  init: () => ({ pending: NOTHING, context: NOTHING, hidden: NOTHING }),
  async step(state, pcm) {
    const sound = new Float32Array(state.pending.length + pcm.length)
    sound.set(state.pending)
    sound.set(pcm, state.pending.length)
    const windows = Math.floor(sound.length / VAD_WINDOW_SAMPLES)
    const probabilities = Float32Array.from({ length: windows }, (_, i) =>
      sound.subarray(i * VAD_WINDOW_SAMPLES, (i + 1) * VAD_WINDOW_SAMPLES).some((sample) => Math.abs(sample) > 0.1)
        ? 0.9
        : 0,
    )
    return [probabilities, { ...state, pending: sound.slice(windows * VAD_WINDOW_SAMPLES) }]
  },
}
