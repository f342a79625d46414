/**
 * @file The content of messages as text: images and sound become the placeholders that their embeddings will fill. Sizes
 * are enough for that; nothing is resized or encoded here. Source: `chat` and MiniCPMOProcessor of the official code.
 */
import { audioLengths, placeholderGroups, type WhisperMelConfig } from "../audio/index.ts"
import { blockCount, type ImageConfig, imagePlaceholder, planSlices, type RgbImage, type Size } from "../image/index.ts"
import {
  AUDIO_END,
  AUDIO_START,
  type ChatTemplate,
  joinContent,
  type OmniTokenizer,
  type PlainTextGuard,
  UNK,
} from "../tokenizer/index.ts"

/**
 * One item of a message. A string is taken as it is: special strings in it act, as in the official code. Text from outside
 * goes into `plain`, where they do not. Sound is mono at 16 kHz.
 */
export type ContentItem =
  | string
  | { readonly plain: string }
  | { readonly image: RgbImage }
  | { readonly audio: Float32Array } // [N]

/** What prompts are made with; all of it belongs to one checkpoint. */
export type PromptParts = {
  readonly tokenizer: OmniTokenizer
  /** The checkpoint's own chat template. */
  readonly template: ChatTemplate
  readonly image: ImageConfig
  readonly audio: { readonly mel: WhisperMelConfig; readonly poolStep: number }
}

export type ContentOptions = {
  /** Join items with nothing instead of line breaks: for one-second units. */
  readonly omniInput?: boolean
  /** Most slices of an image; the processor's setting when absent. */
  readonly maxSliceNums?: number
  /** Number the images; the processor's setting when absent. */
  readonly useImageId?: boolean
  /** Sound in bracketed groups of one second (default), or each clip in one. */
  readonly chunkInput?: boolean
}

/** The media of a prompt in order of appearance, and how much text stands for them. */
export type Media = {
  readonly images: RgbImage[]
  /** Slices of all images, overviews included. */
  blocks: number
  readonly clips: Float32Array[]
  /** Number of the message that each clip comes from. */
  readonly clipMessages: number[]
  /** Placeholders of all clips. */
  audioTokens: number
}

export type ContentWriter = {
  readonly media: Media
  /** The text of message number `message`; messages must come in order. */
  write(content: string | readonly ContentItem[], message: number): string
  /** A text from outside that stands elsewhere: special strings in it do not act. */
  protect(text: string): string
}

/** Collects media while contents become text. Images are numbered from 0 over all messages. */
export function contentWriter(parts: PromptParts, options: ContentOptions, guard?: PlainTextGuard): ContentWriter {
  const media: Media = { images: [], blocks: 0, clips: [], clipMessages: [], audioTokens: 0 }
  const writeItem = (item: ContentItem, message: number): string => {
    if (typeof item === "string") return item
    if ("plain" in item) return guard ? guard.protect(item.plain) : item.plain
    if ("image" in item) {
      const { text, blocks } = imageText(item.image, media.images.length, parts.image, options)
      media.images.push(item.image)
      media.blocks += blocks
      return text
    }
    const tokens = clipTokens(item.audio.length, parts.audio)
    media.clips.push(item.audio)
    media.clipMessages.push(message)
    media.audioTokens += tokens
    return audioText(tokens, parts.audio, options)
  }
  const write = (content: string | readonly ContentItem[], message: number) => {
    const items = typeof content === "string" ? [content] : content
    return joinContent(
      items.map((item) => writeItem(item, message)),
      options.omniInput,
    )
  }
  return { media, write, protect: (text) => (guard ? guard.protect(text) : text) }
}

/**
 * All texts that the guard of a prompt must keep clear of; nothing when none needs one.
 * @param outside texts from outside beside the contents
 */
export function textsToGuard(
  contents: readonly (string | readonly ContentItem[] | null)[],
  outside: readonly string[] = [],
): string[] | undefined {
  const items = contents.flatMap((content) => content ?? [])
  const plain = items.some((item) => typeof item === "object" && "plain" in item)
  if (!plain && outside.length === 0) return undefined
  const texts = items.flatMap((item) => (typeof item === "string" ? [item] : "plain" in item ? [item.plain] : []))
  return [...texts, ...outside]
}

function imageText(
  { width, height }: Size,
  number: number,
  config: ImageConfig,
  { maxSliceNums = config.maxSliceNums, useImageId = config.useImageId }: ContentOptions,
): { text: string; blocks: number } {
  const imageIndex = useImageId ? number : undefined
  if (!config.sliceMode) return { text: imagePlaceholder(config.tokens, undefined, imageIndex), blocks: 1 }
  const plan = planSlices({ width, height }, { ...config, maxSliceNums })
  return { text: imagePlaceholder(config.tokens, plan.slices?.grid, imageIndex), blocks: blockCount(plan) }
}

/** Placeholders of one clip, by its own length. */
export function clipTokens(samples: number, { mel, poolStep }: PromptParts["audio"]): number {
  return audioLengths(samples, poolStep, mel.hopLength).audioTokens
}

/** Mel frames of one bracketed group: a constant of the official processor. */
const GROUP_MEL_FRAMES = 100

function audioText(tokens: number, { poolStep }: PromptParts["audio"], { chunkInput = true }: ContentOptions): string {
  const perGroup = audioLengths(GROUP_MEL_FRAMES, poolStep, 1).audioTokens
  const groups = chunkInput ? placeholderGroups(tokens, perGroup) : [tokens]
  return groups.map((count) => `${AUDIO_START}${UNK.repeat(count)}${AUDIO_END}`).join("")
}
