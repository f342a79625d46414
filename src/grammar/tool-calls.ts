/**
 * @file Tool calls in an answer's text, as Qwen2.5 writes them: `<tool_call>\n{"name": …, "arguments": …}\n</tool_call>`.
 * Works on text as it comes; the pieces it hands out do not depend on how the text was cut.
 */
import { exactJson } from "../util/index.ts"

export const TOOL_CALL_OPEN = "<tool_call>"
export const TOOL_CALL_CLOSE = "</tool_call>"

/** A call, its arguments as JSON text. */
export type ParsedToolCall = { readonly name: string; readonly arguments: string }

export type ToolCallPiece =
  | { readonly type: "text"; readonly text: string }
  /** More of the arguments of call number `index`; joined, they are those of the call that follows. */
  | { readonly type: "tool-call-delta"; readonly index: number; readonly name: string; readonly arguments: string }
  | { readonly type: "tool-call"; readonly call: ParsedToolCall }

/** Text between calls that is only white space belongs to the calls, and is dropped. */
export class ToolCallParser {
  readonly #streams: boolean
  #waiting = ""
  #inside: boolean = false
  #afterCall: boolean = false
  #calls = 0
  #opening: Opening | undefined

  /** @param options.streams gives arguments piece by piece as well */
  constructor(options: { readonly streams?: boolean } = {}) {
    this.#streams = options.streams ?? false
  }

  /** A call was begun and is not whole. */
  get isInside(): boolean {
    return this.#inside
  }

  /** Takes text and gives what is decided: text that can no longer be part of a tag, and whole calls. */
  push(text: string): ToolCallPiece[] {
    this.#waiting += text
    const pieces: ToolCallPiece[] = []
    for (;;) {
      const piece = this.#inside ? this.#takeCall() : this.#takeText()
      if (this.#streams && (this.#inside || piece?.type === "tool-call")) pieces.push(...this.#takeArguments(piece))
      if (piece?.type === "tool-call") {
        this.#calls++
        this.#opening = undefined
      }
      if (piece === undefined) return pieces
      if (piece.type !== "text" || piece.text !== "") pieces.push(piece)
    }
  }

  /** What was not given yet of the arguments of the call that is being written, or is whole now. */
  #takeArguments(whole: ToolCallPiece | undefined): ToolCallPiece[] {
    if (whole?.type === "text") return [] // it stood before the call
    const delta = (name: string, text: string): ToolCallPiece[] =>
      text === "" ? [] : [{ type: "tool-call-delta", index: this.#calls, name, arguments: text }]
    if (whole?.type === "tool-call") {
      const given = this.#opening?.given ?? ""
      const { name, arguments: text } = whole.call
      return text.startsWith(given) ? delta(name, text.slice(given.length)) : []
    }
    this.#opening ??= openingOf(this.#waiting)
    if (!this.#opening) return []
    const { name, start, given } = this.#opening
    const text = this.#waiting.slice(start, objectEnd(this.#waiting, start))
    this.#opening = { name, start, given: text }
    return delta(name, text.slice(given.length))
  }

  /** What is left at the end of the answer: an unfinished call is text, as the model wrote it. */
  flush(): ToolCallPiece[] {
    const text = (this.#inside ? TOOL_CALL_OPEN : "") + this.#waiting
    const dropped = !this.#inside && this.#afterCall && text.trim() === ""
    this.#waiting = ""
    this.#inside = false
    this.#afterCall = false
    return text === "" || dropped ? [] : [{ type: "text", text }]
  }

  #takeText(): ToolCallPiece | undefined {
    const at = this.#waiting.indexOf(TOOL_CALL_OPEN)
    const end = at >= 0 ? at : this.#waiting.length - partial(this.#waiting)
    const text = this.#waiting.slice(0, end)
    if (at < 0) {
      // White space before a tag or after a call is not handed out until something else follows it.
      const sure = this.#afterCall && text.trim() === "" ? "" : text.trimEnd()
      if (sure === "") return undefined
      this.#waiting = this.#waiting.slice(sure.length)
      this.#afterCall = false
      return { type: "text", text: sure }
    }
    this.#waiting = this.#waiting.slice(at + TOOL_CALL_OPEN.length)
    this.#inside = true
    return { type: "text", text: text.trimEnd() }
  }

  #takeCall(): ToolCallPiece | undefined {
    // The closing tag may also stand inside a string of the arguments: the first one that leaves whole JSON counts.
    for (let at = this.#waiting.indexOf(TOOL_CALL_CLOSE); at >= 0; ) {
      const call = parseCall(this.#waiting.slice(0, at))
      const next = this.#waiting.indexOf(TOOL_CALL_CLOSE, at + 1)
      if (call) {
        this.#waiting = this.#waiting.slice(at + TOOL_CALL_CLOSE.length)
        this.#inside = false
        this.#afterCall = true
        return { type: "tool-call", call }
      }
      at = next
    }
    return undefined
  }
}

/** The beginning of a call: its name, where its arguments start, and what was given of them. */
type Opening = { readonly name: string; readonly start: number; readonly given: string }

function openingOf(text: string): Opening | undefined {
  const [whole, name] = /^\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)/.exec(text) ?? []
  if (whole === undefined) return undefined
  try {
    return { name: JSON.parse(name!) as string, start: whole.length, given: "" }
  } catch {
    return undefined
  }
}

/** Where the object that begins at `start` ends, or the text does. */
function objectEnd(text: string, start: number): number {
  let depth = 0
  let isString = false
  for (let at = start; at < text.length; at++) {
    const char = text[at]!
    if (isString && char === "\\") at++
    else if (char === '"') isString = !isString
    else if (!isString && (char === "{" || char === "[")) depth++
    else if (!isString && (char === "}" || char === "]") && --depth === 0) return at + 1
  }
  return text.length
}

/** Length of the longest end of the text that may be the beginning of a tag. */
function partial(text: string): number {
  for (let length = Math.min(text.length, TOOL_CALL_OPEN.length - 1); length > 0; length--) {
    if (TOOL_CALL_OPEN.startsWith(text.slice(-length))) return length
  }
  return 0
}

function parseCall(text: string): ParsedToolCall | undefined {
  let value: unknown
  try {
    value = exactJson(text)
  } catch {
    return undefined
  }
  if (typeof value !== "object" || value === null || !("name" in value) || typeof value.name !== "string")
    return undefined
  const given = "arguments" in value ? value.arguments : {}
  if (typeof given === "string") return { name: value.name, arguments: given }
  // The model's own spelling where it can be cut out, so that numbers keep all their digits.
  const own = /^\s*\{\s*"name"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*"arguments"\s*:\s*([{[][\s\S]*)\}\s*$/.exec(text)?.[1]
  const isWhole = own !== undefined && sameJson(own, given)
  return { name: value.name, arguments: isWhole ? own.trim() : JSON.stringify(given) }
}

function sameJson(text: string, value: unknown): boolean {
  try {
    return JSON.stringify(exactJson(text)) === JSON.stringify(value)
  } catch {
    return false
  }
}
