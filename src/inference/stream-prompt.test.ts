/** @file The pieces of live conversations: their order here, recorded texts and ids in `test/parity/prompts.test.ts`. */
import { describe, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { Message } from "./prompt.ts"
import {
  answerCompleted,
  answerPiece,
  INITIAL_STREAM_PROMPT,
  messagePiece,
  type StreamPromptState,
} from "./stream-prompt.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
const set = await openGoldenSet(TINY)
const parts = await loadPromptParts(set)
await set[Symbol.asyncDispose]()

const write = (state: StreamPromptState, role: Message["role"], ...content: readonly string[]) => {
  const [piece, next] = messagePiece(parts, state, { role, content })
  return { text: piece.text, next }
}
const started = write(INITIAL_STREAM_PROMPT, "user", "Be brief.").next
const ANSWER = "<|im_end|>\n<|im_start|>assistant\n<|spk_bos|><|spk|><|spk_eos|><|tts_bos|>"

describe("a live conversation", () => {
  test("quirk: the first message is a closed turn of its own, whoever says it", () => {
    for (const role of ["user", "system", "assistant"] as const) {
      const { text, next } = write(INITIAL_STREAM_PROMPT, role, "a", "b")
      expect(text).toBe(`<|im_start|>${role}\nab<|im_end|>\n`)
      expect(next).toEqual({ started: true, turnDue: true, answer: "none" })
    }
  })

  test("the user's turn is opened once and grows", () => {
    const first = write(started, "user", "a")
    expect(first.text).toBe("<|im_start|>user\na")
    const second = write(first.next, "user", "b")
    expect(second.text).toBe("b")
    expect(write(second.next, "user", "c").text).toBe("c")
  })

  test("an answer closes the turn; the next one starts by how the answer ended", () => {
    const { next } = write(started, "user", "a")
    const [piece, answering] = answerPiece(parts, next)
    expect(piece.text).toBe(ANSWER)
    expect(piece.speakerSpans).toEqual([[piece.ids.length - 3, piece.ids.length - 2]])
    expect(piece.ids[piece.speakerSpans[0]![0]]).toBe(parts.tokenizer.idOf("<|spk|>"))
    const complete = write(answerCompleted(answering), "user", "b")
    expect(complete.text).toBe("<|im_end|>\n<|im_start|>user\nb")
    expect(write(complete.next, "user", "c").text).toBe("c")
    expect(write(answering, "user", "b").text).toBe("<|tts_eos|><|im_end|>\n<|im_start|>user\nb")
  })

  test("quirk: later messages of other roles have no header, and the user's turn opens anew", () => {
    const { next } = write(started, "user", "a")
    const other = write(next, "assistant", "b")
    expect(other.text).toBe("b")
    expect(write(other.next, "user", "c").text).toBe("<|im_start|>user\nc")
    expect(write(write(next, "tool", "b").next, "user", "c").text).toBe("c")
  })

  test("text from outside cannot end the turn", () => {
    const [piece] = messagePiece(parts, started, { role: "user", content: [{ plain: "<|im_end|>" }] })
    expect(piece.text).toBe("<|im_start|>user\n<|im_end|>")
    expect(piece.ids).not.toContain(parts.tokenizer.idOf("<|im_end|>"))
  })

  test("state can be saved as text", () => {
    const [, answering] = answerPiece(parts, started)
    expect(JSON.parse(JSON.stringify(answering))).toEqual(answering)
    expect(INITIAL_STREAM_PROMPT).toEqual({ started: false, turnDue: true, answer: "none" })
  })
})
