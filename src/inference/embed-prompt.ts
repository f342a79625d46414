/**
 * @file A prompt's embeddings: images and sound through their encoders, then everything in one sequence. Offline the clips
 * of a message are joined and split every 30 seconds; in a live conversation each piece has at most one clip, which goes
 * on where the last one ended.
 * Source: `get_vllm_embedding`, `get_omni_embedding` and `process_audio` of the official code.
 */
import { audioLengths, minEncodableSamples, type WhisperMel } from "../audio/index.ts"
import { f32, f32Data, type HostTensor, numberAt } from "../tensor/index.ts"
import { ConfigError, InputError, type Steps } from "../util/index.ts"
import type { AudioEncoder, AudioStream } from "./audio-encoder.ts"
import type { TokenModel } from "./language-model.ts"
import { mergeEmbeds } from "./merge.ts"
import type { Prompt } from "./prompt.ts"
import { stripsOf, type VisionEncoder } from "./vision.ts"

/** What encodes sound: the audio encoder, or something that remembers its answers. */
export type ClipEncoder = Pick<AudioEncoder, "config" | "init" | "step" | "encode">

/** The models that a prompt needs; one that reads text alone has no encoders. */
export type EmbedParts = {
  readonly model: Pick<TokenModel, "embed">
  readonly vision?: VisionEncoder
  readonly audio?: { readonly encoder: ClipEncoder; readonly mel: WhisperMel }
}

/**
 * Embeddings of an offline prompt, [1, T, D].
 * @throws InputError when an image is too long and narrow, or sound is damaged or too short; ConfigError when the model
 * cannot see or hear
 */
export function embedPrompt(parts: EmbedParts, prompt: Prompt): Steps<HostTensor<"f32">> {
  return embedBatch(parts, [prompt])
}

/**
 * Embeddings of prompts that were padded to one length, [B, T, D]; padding has the embedding of its id. The sound of all
 * is padded to one length, too.
 *
 * Quirk, intended, as in the official code: so what a prompt hears depends on the others, by the end of a segment that is
 * shorter than the longest (see the encoder's `encode`).
 * @throws as {@link embedPrompt}
 */
export async function* embedBatch(parts: EmbedParts, prompts: readonly Prompt[]): Steps<HostTensor<"f32">> {
  const sound = yield* encodeClips(parts, prompts)
  const rows: HostTensor<"f32">[] = []
  for (const [b, prompt] of prompts.entries()) {
    const images = yield* encodeImages(parts, prompt)
    rows.push(mergeEmbeds(parts.model.embed(prompt.ids), prompt, { ...images, audio: sound[b]! }))
  }
  return stack(rows)
}

/**
 * Embeddings of a piece of a live conversation, [1, T, D], and what the encoder has heard by then. A step that fails
 * or is abandoned leaves the stream as it was; one that succeeds uses it up.
 * @throws InputError as above, and for several clips in one piece
 */
export async function* embedPiece(
  parts: EmbedParts,
  piece: Prompt,
  stream: AudioStream | undefined,
): Steps<readonly [embeds: HostTensor<"f32">, next: AudioStream | undefined]> {
  const [clip, ...more] = piece.clips
  if (more.length > 0) {
    throw new InputError(`audio: expected one clip in a piece of a live conversation, got ${1 + more.length}`)
  }
  const images = yield* encodeImages(parts, piece)
  const embeds = parts.model.embed(piece.ids)
  if (!clip) return [mergeEmbeds(embeds, piece, images), stream]
  const { encoder, mel } = encoderOf(parts)
  const [tokens, next] = yield* encoder.step(stream ?? encoder.init(), mel.extract(clip))
  return [mergeEmbeds(embeds, piece, { ...images, audio: [tokens] }), next]
}

/** Rows of those images that the prompt still has spans for, [N, Q, D]. */
async function* encodeImages({ vision }: EmbedParts, prompt: Prompt): Steps<{ readonly images?: HostTensor<"f32"> }> {
  const { images, imageSpans, maxSliceNums } = prompt
  if (imageSpans.length === 0) return {}
  if (!vision) throw new ConfigError("image: expected a model that sees, got one without a vision tower")
  const parts: HostTensor<"f32">[] = []
  let left = imageSpans.length
  for (const image of images) {
    if (left === 0) break
    const strips = stripsOf([yield* vision.processSteps(image, { maxSliceNums })]).slice(0, left)
    yield
    parts.push(yield* vision.encode(strips))
    left -= strips.length
  }
  return { images: stack(parts) }
}

function stack(parts: readonly HostTensor<"f32">[]): HostTensor<"f32"> {
  const [, ...block] = parts[0]!.shape
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0))
  let at = 0
  for (const part of parts) {
    data.set(f32Data(part), at)
    at += part.data.length
  }
  return f32([parts.reduce((sum, { shape }) => sum + shape[0]!, 0), ...block], data)
}

function encoderOf({ audio }: EmbedParts): NonNullable<EmbedParts["audio"]> {
  if (audio) return audio
  throw new ConfigError("audio: expected a model that hears, got one without an audio encoder")
}

/** Tokens of the sound of each prompt, a block for each segment. */
async function* encodeClips(parts: EmbedParts, prompts: readonly Prompt[]): Steps<HostTensor<"f32">[][]> {
  if (prompts.every(({ clips }) => clips.length === 0)) return prompts.map(() => [])
  const { encoder, mel } = encoderOf(parts)
  const { poolStep } = encoder.config
  const segments: HostTensor<"f32">[] = []
  const ends: number[] = []
  for (const prompt of prompts) {
    if (prompt.clips.length > 0) {
      const { clips, clipMessages } = clipsToJoin(prompt, mel.config, poolStep)
      for (const piece of mel.split(clips, clipMessages, poolStep)) {
        if (piece.length < minEncodableSamples(poolStep, mel.config.hopLength)) continue // no token, no placeholder
        segments.push(mel.extract(piece))
        yield
      }
    }
    ends.push(segments.length)
  }
  const { features, featureLens } = mel.pad(segments)
  const lengths = Array.from({ length: featureLens.shape[0]! }, (_, i) => numberAt(featureLens.data, i))
  const tokens = yield* encoder.encode(features, lengths)
  return ends.map((end, b) => tokens.slice(ends[b - 1] ?? 0, end))
}

/**
 * The clips as they are, or, where joining them would give fewer tokens than there are placeholders, each but the last of
 * its message cut or padded with silence to whole tokens (at most 20 ms at the official sizes). The official code fails
 * there: three clips of 0.99 s in one message have 75 placeholders, but 74 tokens when joined.
 */
function clipsToJoin(
  { clips, clipMessages }: Prompt,
  { hopLength, maxSamples }: WhisperMel["config"],
  poolStep: number,
): Pick<Prompt, "clips" | "clipMessages"> {
  const tokens = (samples: number) => audioLengths(samples, poolStep, hopLength).audioTokens
  const joined = new Map<number, number>()
  for (const [i, { length }] of clips.entries()) {
    joined.set(clipMessages[i]!, (joined.get(clipMessages[i]!) ?? 0) + length)
  }
  const encoded = [...joined.values()].reduce(
    (sum, samples) => sum + Math.floor(samples / maxSamples) * tokens(maxSamples) + tokens(samples % maxSamples),
    0,
  )
  if (encoded >= clips.reduce((sum, { length }) => sum + tokens(length), 0)) return { clips, clipMessages }
  const tokenSamples = 2 * poolStep * hopLength
  const whole = clips.map((clip, i) => {
    if (clipMessages[i + 1] !== clipMessages[i]) return clip
    const padded = new Float32Array(tokens(clip.length) * tokenSamples)
    padded.set(clip.subarray(0, padded.length))
    return padded
  })
  const kept = whole.flatMap(({ length }, i) => (length > 0 ? [i] : []))
  return { clips: kept.map((i) => whole[i]!), clipMessages: kept.map((i) => clipMessages[i]!) }
}
