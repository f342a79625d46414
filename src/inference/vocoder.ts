/** @file The vocoder at work: log-mel to samples at 24 kHz. */
import { createIstft, vocosSpectrum } from "../audio/index.ts"
import { type VocosConfig, vocosGraph } from "../models/minicpmo/index.ts"
import type { Executor, Program, WeightStore } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor } from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"

/** Fixed by the official code, like the mel's own framing. */
export const VOCODER_HOP = 256
export const VOCODER_SAMPLE_RATE_HZ = 24_000

export class Vocoder {
  readonly config: VocosConfig
  readonly weights: WeightStore
  private readonly executor: Executor
  private readonly program: Program
  private readonly window: Float32Array

  private constructor(config: VocosConfig, executor: Executor, weights: WeightStore, program: Program) {
    this.config = config
    this.weights = weights
    this.executor = executor
    this.program = program
    this.window = f32Data(weights.read("head.istft.window", "f32", [config.fftSize]))
  }

  static async load(config: VocosConfig, executor: Executor, weights: WeightStore): Promise<Vocoder> {
    return new Vocoder(config, executor, weights, await executor.compile(vocosGraph(config), weights))
  }

  /** Frees the program. */
  async release(): Promise<void> {
    await this.program.release()
  }

  /**
   * Renders a stretch as if silence surrounded it: what lies near its ends depends on what was cut off there.
   * @param mel natural-log mel  // [M, L]
   * @returns mono samples at 24 kHz, not clipped  // [256·L]
   * @throws ShapeError for other mel bins
   */
  async render(mel: HostTensor): Promise<Float32Array> {
    const { melBins, fftSize } = this.config
    const [bins, frames] = mel.shape
    if (mel.shape.length !== 2 || bins !== melBins) {
      throw new ShapeError(`vocoder: expected a mel [${melBins}, L], got [${mel.shape.join(", ")}]`)
    }
    if (frames === 0) return new Float32Array(0)
    const { head } = await this.executor.run(this.program, { mel: f32([1, melBins, frames!], f32Data(mel)) })
    const istft = createIstft({ fftSize, hopLength: VOCODER_HOP, window: this.window })
    const start = istft.push(vocosSpectrum(f32Data(head!), fftSize))
    const end = istft.flush()
    const wave = new Float32Array(start.length + end.length)
    wave.set(start)
    wave.set(end, start.length)
    return wave
  }
}
