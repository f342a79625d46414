/**
 * @file Sampled tokens to what an answer says: pieces of text, a few tokens at a time, as the official stream or a live one
 * cuts them, and tool calls.
 */
import { ToolCallParser, type ToolCallPiece } from "../grammar/index.ts"
import { answerText, decodableLength, type OmniTokenizer, TTS_EOS, terminatorIds } from "../tokenizer/index.ts"
import { StopScanner } from "./stop-scanner.ts"

/** Takes tokens, gives text that is safe to show. */
export type PieceWriter = {
  /** @returns the text that these tokens complete, perhaps none */
  push(ids: readonly number[]): string
  /** The rest, when no more tokens come. */
  flush(): string
}

/**
 * Quirks of the official code, intended: token 0 vanishes, special strings but the last terminator are text, and what ends in
 * an incomplete character waits, or, at the end, is lost.
 */
export function officialPieces(tokenizer: OmniTokenizer): PieceWriter {
  let waiting: number[] = []
  return {
    push(ids) {
      const all = [...waiting, ...ids]
      const length = decodableLength(tokenizer, all)
      waiting = all.slice(length)
      return answerText(tokenizer, all.slice(0, length))
    },
    flush: () => "",
  }
}

/** Plain text of an answer: terminators and the end-of-speech mark are no text. */
export function livePieces(tokenizer: OmniTokenizer): PieceWriter {
  const decoder = tokenizer.createDecoder()
  const hidden = new Set([...terminatorIds(tokenizer), tokenizer.idOf(TTS_EOS)])
  return {
    push: (ids) => ids.map((id) => (hidden.has(id) ? "" : decoder.push(id))).join(""),
    flush: () => decoder.flush(),
  }
}

/** What tokens say once calls and stop texts are taken out of their text. */
export class AnswerText {
  private readonly writer: PieceWriter
  private readonly stops: StopScanner
  private readonly calls: ToolCallParser | undefined
  private taken = 0
  private outside = 0

  /** @param options.calls whether the text may hold tool calls */
  constructor(writer: PieceWriter, options: { readonly stop: readonly string[]; readonly calls: boolean }) {
    this.writer = writer
    this.stops = new StopScanner(options.stop)
    this.calls = options.calls ? new ToolCallParser({ streams: true }) : undefined
  }

  /** A stop text came: nothing more is said. */
  get stopped(): boolean {
    return this.stops.stopped
  }

  /** Tokens before a call that is not whole; all of them when there is none. */
  get wholeTokens(): number {
    return this.outside
  }

  /** What these tokens say that can no longer change. */
  push(ids: readonly number[]): ToolCallPiece[] {
    if (!this.calls) {
      this.outside = this.taken += ids.length
      return textPieces(this.stops.push(this.writer.push(ids)))
    }
    const said: ToolCallPiece[] = []
    for (const id of ids) {
      said.push(...this.sort(this.calls.push(this.writer.push([id]))))
      this.taken++
      if (!this.calls.isInside) this.outside = this.taken
    }
    return joined(said)
  }

  /** The rest, when no more tokens come. A call that is not whole is not said. */
  finish(): ToolCallPiece[] {
    if (this.stopped) return []
    const text = this.writer.flush()
    if (!this.calls) return textPieces(this.stops.flush(text))
    const said = this.sort(this.calls.push(text))
    if (!this.calls.isInside) said.push(...this.sort(this.calls.flush()))
    return joined([...said, ...textPieces(this.stops.flush(""))])
  }

  /** Stop texts stand in text alone: one inside a call's arguments stops nothing. */
  private sort(pieces: readonly ToolCallPiece[]): ToolCallPiece[] {
    return pieces.flatMap((piece) => {
      if (piece.type === "text") return textPieces(this.stops.push(piece.text))
      return this.stopped ? [] : [...textPieces(this.stops.flush("")), piece]
    })
  }
}

const textPieces = (text: string): ToolCallPiece[] => (text === "" ? [] : [{ type: "text", text }])

function joined(pieces: readonly ToolCallPiece[]): ToolCallPiece[] {
  const all: ToolCallPiece[] = []
  for (const piece of pieces) {
    const last = all.at(-1)
    if (piece.type === "text" && last?.type === "text") all[all.length - 1] = { ...piece, text: last.text + piece.text }
    else all.push(piece)
  }
  return all
}

/** The text of an answer without its calls. */
export function textBesideCalls(text: string): string {
  const parser = new ToolCallParser()
  const pieces = parser.push(text)
  if (!parser.isInside) pieces.push(...parser.flush())
  return pieces.map((piece) => (piece.type === "text" ? piece.text : "")).join("")
}
