/** @file The speech codec at work: frames of codes to log-mel, and log-mel to codes. */
import { type DvaeConfig, dvaeDecodeGraph, dvaeEncodeGraph, soundCodes } from "../models/minicpmo/index.ts"
import type { Executor, Program, WeightStore } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, i64 } from "../tensor/index.ts"
import { InputError, ShapeError } from "../util/index.ts"
import type { CodeFrame } from "./code-sampler.ts"

/** Mel frames of one code frame. */
export const MEL_PER_CODE_FRAME = 2

export class SpeechCodec {
  readonly config: DvaeConfig
  private readonly executor: Executor
  readonly weights: WeightStore
  private readonly decoder: Program
  private encoder: Promise<Program> | undefined

  private constructor(config: DvaeConfig, executor: Executor, weights: WeightStore, decoder: Program) {
    this.config = config
    this.executor = executor
    this.weights = weights
    this.decoder = decoder
  }

  /** Compiles the decoder; the encoder is compiled when first used. */
  static async load(config: DvaeConfig, executor: Executor, weights: WeightStore): Promise<SpeechCodec> {
    return new SpeechCodec(config, executor, weights, await executor.compile(dvaeDecodeGraph(config), weights))
  }

  /** Frees the programs. */
  async release(): Promise<void> {
    await this.decoder.release()
    await (await this.encoder)?.release()
  }

  /**
   * @returns natural-log mel  // [M, 2A]
   * @throws InputError for a frame of another number of codes, or a code that is no sound
   */
  async decode(frames: readonly CodeFrame[]): Promise<HostTensor<"f32">> {
    const { codebooks, melBins } = this.config
    const count = soundCodes(this.config)
    for (const frame of frames) {
      if (frame.length === codebooks && frame.every((code) => Number.isInteger(code) && code >= 0 && code < count))
        continue
      throw new InputError(
        `speech codec: expected frames of ${codebooks} codes in [0, ${count}), got ${frame.join(", ")}`,
      )
    }
    if (frames.length === 0) return f32([melBins, 0], [])
    const byCodebook = Array.from({ length: codebooks }, (_, codebook) => frames.map((frame) => frame[codebook]!))
    const codes = i64([1, codebooks, frames.length], byCodebook.flat())
    const { mel } = await this.executor.run(this.decoder, { codes })
    return f32([melBins, frames.length * MEL_PER_CODE_FRAME], f32Data(mel!))
  }

  /**
   * @param mel natural-log mel of one utterance  // [M, L]
   * @returns floor(L/2) frames
   * @throws ShapeError when there are other bins, or fewer than two frames
   */
  async encode(mel: HostTensor): Promise<CodeFrame[]> {
    const { codebooks, melBins } = this.config
    const [bins, length = 0] = mel.shape
    if (mel.shape.length !== 2 || bins !== melBins || length < MEL_PER_CODE_FRAME) {
      throw new ShapeError(`speech codec: expected a mel [${melBins}, 2 or more], got [${mel.shape.join(", ")}]`)
    }
    this.encoder ??= this.executor.compile(dvaeEncodeGraph(this.config), this.weights)
    const { codes } = await this.executor.run(await this.encoder, { mel: f32([1, melBins, length], f32Data(mel)) })
    const frames = codes!.shape[2]!
    return Array.from({ length: frames }, (_, a) =>
      Array.from({ length: codebooks }, (__, codebook) => Number(codes!.data[codebook * frames + a])),
    )
  }
}
