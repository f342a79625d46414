/**
 * @file A whole model without networks, at once and exactly: what it remembers are the token ids themselves, and the next token
 * is a function of all of them. So any slip in what a call keeps shows in what it says next, and the cache can be read.
 */
import { audioLengths, WHISPER_MEL } from "../audio/index.ts"
import type { ClipEncoder, EmbedParts, PromptParts, SpeechDecoder } from "../inference/index.ts"
import { SMALL_TEXT, smallDecoder, smallRenderer } from "../inference/speech.test-util.ts"
import { tinyQwen2Config } from "../inference/tiny-qwen2.test-util.ts"
import { type Executor, KvCache } from "../runtime/index.ts"
import { f32, f32Data } from "../tensor/index.ts"
import { IM_END, type OmniTokenizer } from "../tokenizer/index.ts"
import type { ConversationModel, OmniModel, VoiceParts } from "./model.ts"

/** Width of hidden states: what the small speech decoder takes. The first place holds the id. */
const WIDTH = 10
/** Stands for sound in the cache. */
export const SOUND = -1
const POOL_STEP = 2
/** Passes whose states may still be asked about. */
const PASSES_KEPT = 64

/** The next token after these ids, sound included. */
export type NextToken = (ids: readonly number[]) => number

/** Some word of the list, or in one of `ends` cases the end; any change of the ids changes what follows. */
export function hashedTokens(tokenizer: OmniTokenizer, words: readonly string[], ends = 12): NextToken {
  const ids = words.map((word) => tokenizer.encode(word)[0]!)
  const end = tokenizer.idOf(IM_END)
  return (seen) => {
    let hash = 7
    for (const id of seen) hash = (Math.imul(hash, 31) + id + 3) | 0
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
    const choice = (hash ^ (hash >>> 12)) >>> 0
    return choice % ends === 0 ? end : ids[(choice >>> 8) % ids.length]!
  }
}

export type MockModel = OmniModel & {
  /** How often logits were asked for, passes were made and sound was encoded. */
  readonly counts: { logits: number; passes: number; encoded: number }
  /** The latest sequences that a token was chosen for. */
  readonly seen: (readonly number[])[]
}

/** @param stepsPerPass steps of a pass over several positions: places where work can be abandoned */
export function mockModel(
  prompts: PromptParts,
  next: NextToken,
  { context = 4000, stepsPerPass = 3, voice }: { context?: number; stepsPerPass?: number; voice?: VoiceParts } = {},
): MockModel {
  const counts = { logits: 0, passes: 0, encoded: 0 }
  const { tokenizer } = prompts
  const chosenFor: (readonly number[])[] = []
  const config = {
    ...tinyQwen2Config({ vocab_size: tokenizer.size, max_position_embeddings: context }),
    hiddenSize: WIDTH,
  }
  /** What was seen by the end of a pass, by its number, which stands in the second place of its states. */
  const seenBy = new Map<number, readonly number[]>()
  const language: ConversationModel = {
    config,
    createCache: () => new KvCache([{ name: "ids", kvHeads: 1, headSize: 1 }], 1),
    forget: (cache, from, to) => cache.remove(from, to, () => {}),
    embed: (ids) =>
      f32(
        [1, ids.length, WIDTH],
        Float32Array.from({ length: ids.length * WIDTH }, (_, i) => (i % WIDTH === 0 ? ids[i / WIDTH]! : 0)),
      ),
    async *forward(cache, embeds) {
      counts.passes++
      const [, steps] = embeds.shape as [number, number, number]
      for (let i = 1; i < (steps > 1 ? stepsPerPass : 1); i++) yield
      const ids = f32Data(embeds).filter((_, i) => i % WIDTH === 0)
      cache.stage("ids", steps, { keys: ids, values: ids })
      cache.advance(steps)
      const hidden = f32(embeds.shape, f32Data(embeds).slice())
      const pass = counts.passes
      for (let row = 0; row < steps; row++) f32Data(hidden)[row * WIDTH + 1] = pass
      seenBy.set(pass, idsOf(cache))
      seenBy.delete(pass - PASSES_KEPT)
      yield
      return [hidden]
    },
    async lastLogits(hidden) {
      counts.logits++
      const logits = new Float32Array(tokenizer.size)
      const seen = seenBy.get(f32Data(hidden).at(1 - WIDTH)!)
      if (!seen) throw new Error("a mock's hidden states must be those of its latest pass")
      logits[next(seen)] = 9
      chosenFor.push(seen)
      if (chosenFor.length > PASSES_KEPT) chosenFor.shift()
      return { logits, normed: f32Data(hidden).slice(-WIDTH) }
    },
    normed: async (hidden) => hidden,
  }
  const perception: EmbedParts = { model: language, audio: { encoder: countingEncoder(counts), mel: MEL } }
  return {
    fingerprint: "mock",
    language,
    prompts,
    perception,
    ...(voice ? { voice } : {}),
    counts,
    seen: chosenFor,
  }
}

/** What a cache of such a model holds. */
export function idsOf(cache: Pick<KvCache, "snapshot">): number[] {
  return [...cache.snapshot().slots.ids!.values]
}

/** Mel frames without a spectrum: only their number matters, and a sum that tells one sound from another. */
const MEL = {
  config: WHISPER_MEL,
  extract: (pcm: Float32Array) => {
    const { melFrames } = audioLengths(pcm.length)
    return f32([1, melFrames], new Float32Array(melFrames).fill(pcm.reduce((sum, value) => sum + value, 0)))
  },
} as unknown as NonNullable<EmbedParts["audio"]>["mel"]

function countingEncoder(counts: { encoded: number }): ClipEncoder {
  return {
    config: { poolStep: POOL_STEP } as ClipEncoder["config"],
    init: () => ({ cache: new KvCache([{ name: "sound", kvHeads: 1, headSize: 1 }], 1) }),
    async *step(stream, mel) {
      counts.encoded++
      const [, frames] = mel.shape as [number, number]
      yield
      const { audioTokens, encoderFrames } = audioLengths(frames, POOL_STEP, 1)
      const rows = new Float32Array(encoderFrames)
      stream.cache.stage("sound", encoderFrames, { keys: rows, values: rows })
      stream.cache.advance(encoderFrames)
      const tokens = Float32Array.from({ length: audioTokens * WIDTH }, (_, i) => (i % WIDTH === 0 ? SOUND : 0))
      return [f32([audioTokens, WIDTH], tokens), stream]
    },
    encode: () => {
      throw new Error("a mock hears streams alone")
    },
  }
}

/** Frames after which a small voice has said what it had to say: its random weights never would. */
const SPOKEN_FRAMES = 60

/** A small voice with random weights. */
export async function smallVoice(executor: Executor, spokenFrames = SPOKEN_FRAMES): Promise<VoiceParts> {
  const decoder = await smallDecoder(executor)
  const ending = Object.assign(Object.create(decoder) as SpeechDecoder, {
    async *generate(...args: Parameters<SpeechDecoder["generate"]>): ReturnType<SpeechDecoder["generate"]> {
      const [frames, state] = yield* decoder.generate(...args)
      return [frames, { ...state, finished: state.finished || state.frames.length >= spokenFrames }]
    },
  })
  return { decoder: ending, ...(await smallRenderer(executor)), ...SMALL_TEXT }
}
