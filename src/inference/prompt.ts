/**
 * @file Conversations become prompts: the text that the model reads, its token ids, and the spans that embeddings of images
 * and sound will fill. Nothing is encoded, so a prompt that is too long is known before any work.
 * Source: `chat`, `get_sys_prompt` and MiniCPMOProcessor of the official code.
 */
import type { RgbImage } from "../image/index.ts"
import {
  AUDIO_MARKER,
  type PromptLanguage,
  plainTextGuard,
  SPEECH_SLOTS,
  type SystemPromptMode,
  systemPromptItems,
  type TemplateMessage,
  ttsChatTemplate,
} from "../tokenizer/index.ts"
import { InputError } from "../util/index.ts"
import {
  type ContentItem,
  type ContentOptions,
  contentWriter,
  type Media,
  type PromptParts,
  textsToGuard,
} from "./prompt-content.ts"
import { findSpans, type PromptSpans, type Span } from "./prompt-spans.ts"
import { mapTexts, parseArguments, textsIn } from "./prompt-tools.ts"

/** A message of a conversation; tool calls and results are the template's business. */
export type Message = Omit<TemplateMessage, "content"> & { readonly content: string | readonly ContentItem[] | null }

export type ChatPromptOptions = ContentOptions & {
  /** Open the answer with the speaker's slot, so that it can be spoken. Sound in any message forces it. */
  readonly useTtsTemplate?: boolean
  /** Functions the model may call, written into the system block. */
  readonly tools?: readonly unknown[]
  /**
   * Quirk of the official code, intended: ids beyond this number are cut off at the right, the question first. Nothing is
   * cut when absent.
   */
  readonly maxInputLength?: number
}

/** A prompt and what belongs into its spans. */
export type Prompt = PromptSpans & {
  /** After placeholder expansion, exactly as tokenized, before any cut. */
  readonly text: string
  readonly ids: readonly number[]
  readonly images: readonly RgbImage[]
  /** How images are sliced; placeholders were written for this. */
  readonly maxSliceNums: number
  readonly clips: readonly Float32Array[] // [N] each
  /** Number of the message that each clip comes from: the offline path joins those of one message. */
  readonly clipMessages: readonly number[]
}

/**
 * The prompt of an offline answer.
 *
 * Quirks, intended, as in the official code: plain chat starts with the template's default system message, speech chat with
 * none; images count from 0 over all turns of every call; a clip's placeholders come from its own length, although clips
 * of one message are joined before encoding.
 *
 * With tools and speech together, which the official code does not have, the checkpoint's template writes the turns and
 * the speaker's slot follows.
 * @throws InputError for no message, a first one of another role than user or system, or special strings where they disturb
 */
export function chatPrompt(
  parts: PromptParts,
  messages: readonly Message[],
  { maxInputLength, tools = [], useTtsTemplate = false, ...options }: ChatPromptOptions = {},
): Prompt {
  const first = messages[0]?.role
  if (first !== "user" && first !== "system") {
    throw new InputError(`messages: expected the first one from user or system, got ${first ?? "none"}`)
  }
  if (maxInputLength !== undefined && !(Number.isInteger(maxInputLength) && maxInputLength > 0)) {
    throw new InputError(`maxInputLength: expected a whole number ≥ 1, got ${maxInputLength}`)
  }
  const text = (writer: Writer) => {
    const guarded = (value: unknown) => mapTexts(value, writer.protect)
    const filled = messages.map(({ content, tool_calls, ...rest }, i) => ({
      ...rest,
      ...(tool_calls ? { tool_calls: parseArguments(tool_calls).map(guarded) as typeof tool_calls } : {}),
      content: content && writer.write(content, i),
    }))
    const speech = useTtsTemplate || writer.media.clips.length > 0
    const written = () => parts.template(filled, { tools: tools.map(guarded) })
    if (!speech) return written()
    const calls = messages.some(({ role, tool_calls }) => role === "tool" || tool_calls !== undefined)
    return tools.length > 0 || calls ? written() + SPEECH_SLOTS : ttsChatTemplate(filled)
  }
  const contents = messages.map(({ content }) => content)
  const outside = [...tools, ...messages.flatMap(({ tool_calls = [] }) => parseArguments(tool_calls))]
  return buildPrompt(parts, contents, options, text, maxInputLength, textsIn(outside))
}

/**
 * One of the official system prompts as a message; its role is `user`. The texts of the audio modes stand on lines of
 * their own, so they are written without `omniInput`, in streams too.
 * @param voice the voice to speak with, mono at 16 kHz  // [N]
 * @throws ConfigError for voice cloning without a voice
 */
export function systemMessage(mode: SystemPromptMode, language: PromptLanguage, voice?: Float32Array): Message {
  const items = systemPromptItems(mode, language, { referenceVoice: voice !== undefined })
  return { role: "user", content: items.map((item) => (item === AUDIO_MARKER && voice ? { audio: voice } : item)) }
}

type Writer = ReturnType<typeof contentWriter>

/**
 * Text, ids and spans of contents, by whatever puts the written contents together.
 * @param outside further texts that the writer is to protect
 */
export function buildPrompt(
  parts: PromptParts,
  contents: readonly (string | readonly ContentItem[] | null)[],
  options: ContentOptions,
  compose: (writer: Writer) => string,
  maxInputLength = Number.POSITIVE_INFINITY,
  outside: readonly string[] = [],
): Prompt {
  const { tokenizer, image } = parts
  const guarded = textsToGuard(contents, outside)
  const guard = guarded && plainTextGuard(tokenizer, guarded)
  const writer = contentWriter(parts, options, guard)
  const written = compose(writer)
  const all = guard ? guard.encode(written) : tokenizer.encode(written)
  const ids = all.slice(0, maxInputLength)
  const { blocks, audioTokens, ...media }: Media = writer.media
  const spans = findSpans(ids, tokenizer, image, { blocks, audioTokens, cut: ids.length < all.length })
  const { maxSliceNums = image.maxSliceNums } = options
  return { text: guard ? guard.reveal(written) : written, ids, ...spans, ...media, maxSliceNums }
}

/** The id of padding: a real token, which the mask hides. */
const PAD_ID = 0

/** Prompts padded to one length at the left. */
export type PromptBatch = {
  /** Ids and spans include the padding. */
  readonly prompts: readonly Prompt[]
  /** 1 for real positions, 0 for padding.  // [B, T] */
  readonly valid: Uint8Array
}

/** Prompts to be answered together. */
export function padPrompts(prompts: readonly Prompt[]): PromptBatch {
  const longest = Math.max(0, ...prompts.map(({ ids }) => ids.length))
  const valid = new Uint8Array(prompts.length * longest)
  const padded = prompts.map((prompt, row) => {
    const padding = longest - prompt.ids.length
    valid.fill(1, row * longest + padding, (row + 1) * longest)
    return padLeft(prompt, padding)
  })
  return { prompts: padded, valid }
}

function padLeft(prompt: Prompt, count: number): Prompt {
  const shift = (spans: readonly Span[]): Span[] => spans.map(([start, end]) => [start + count, end + count])
  return {
    ...prompt,
    ids: [...new Array<number>(count).fill(PAD_ID), ...prompt.ids],
    imageSpans: shift(prompt.imageSpans),
    audioSpans: shift(prompt.audioSpans),
    speakerSpans: shift(prompt.speakerSpans),
  }
}
