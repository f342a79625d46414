/**
 * @file The prompt of a live conversation, piece by piece: a closed first turn, then the user's turn that grows by one-second
 * units, then the opening of the answer. State is plain data; encoding and caches are elsewhere.
 * Source: `streaming_prefill` and `streaming_generate` of the official code.
 */
import { IM_END, TTS_EOS, TTS_GENERATION_PROMPT, turnText } from "../tokenizer/index.ts"
import type { Message, Prompt } from "./prompt.ts"
import { buildPrompt } from "./prompt.ts"
import type { ContentOptions, PromptParts } from "./prompt-content.ts"

/** Where a conversation stands between two pieces. */
export type StreamPromptState = {
  /** Something was written. */
  readonly started: boolean
  /** The user's next message opens a turn. */
  readonly turnDue: boolean
  /** How the latest answer ended, if there was one; while it is being generated it counts as cut off. */
  readonly answer: "none" | "complete" | "cut-off"
}

/** A conversation without a word. */
export const INITIAL_STREAM_PROMPT: StreamPromptState = { started: false, turnDue: true, answer: "none" }

/** What opens the user's turn, by how the answer before it ended. An answer's last token is never in the cache. */
const TURN_OPENING = {
  none: "<|im_start|>user\n",
  complete: `${IM_END}\n<|im_start|>user\n`,
  "cut-off": `${TTS_EOS}${IM_END}\n<|im_start|>user\n`,
}

/** The text that opens a message's turn, nothing where the turn is open already. */
export function turnOpening({ started, turnDue, answer }: StreamPromptState, role: Message["role"]): string {
  return started && turnDue && role === "user" ? TURN_OPENING[answer] : ""
}

/**
 * The piece for one message, and the next state. Items are joined with nothing unless `omniInput` is false, images are not
 * sliced unless `maxSliceNums` says so, and never numbered.
 *
 * Quirks, intended, as in the official code: the first message is a closed turn of its own, even a user's; later messages
 * of other roles are written without any header.
 * @throws InputError when special strings in text disturb the placeholders
 */
export function messagePiece(
  parts: PromptParts,
  state: StreamPromptState,
  message: Pick<Message, "role" | "content">,
  options: Pick<ContentOptions, "omniInput" | "maxSliceNums"> = {},
): [piece: Prompt, next: StreamPromptState] {
  const { role, content } = message
  const opening = turnOpening(state, role)
  const piece = buildPrompt(
    parts,
    [content],
    { omniInput: true, maxSliceNums: 1, ...options, useImageId: false, chunkInput: true },
    (writer) => {
      const text = writer.write(content ?? "", 0)
      if (!state.started) return turnText(role, text)
      return opening + text
    },
  )
  if (!state.started) return [piece, { started: true, turnDue: true, answer: "none" }]
  return [piece, { ...state, turnDue: role === "user" ? false : role === "tool" ? state.turnDue : true }]
}

/** What ends the turn before an answer; nothing where only the first message stands, a closed turn of its own. */
export function turnClosing({ turnDue, answer }: StreamPromptState): string {
  return turnDue && answer === "none" ? "" : `${IM_END}\n`
}

/**
 * The piece that opens an answer, with the speaker's slot, and the state while it is generated.
 * @param options.recloses quirk of the official code: a turn that is closed is closed once more
 */
export function answerPiece(
  parts: PromptParts,
  state: StreamPromptState,
  { recloses = true }: { readonly recloses?: boolean } = {},
): [piece: Prompt, next: StreamPromptState] {
  const closing = recloses ? `${IM_END}\n` : turnClosing(state)
  const piece = buildPrompt(parts, [], {}, () => closing + TTS_GENERATION_PROMPT)
  return [piece, { ...state, turnDue: true, answer: "cut-off" }]
}

/** The state after an answer that ended with a terminator. One that is cut off stays as {@link answerPiece} left it. */
export function answerCompleted(state: StreamPromptState): StreamPromptState {
  return { ...state, answer: "complete" }
}
