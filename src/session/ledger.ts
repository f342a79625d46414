/**
 * @file Which positions of a conversation's cache hold what: the first message, then turns of units and answers. Plain data
 * and arithmetic: it decides what may be forgotten.
 *
 *   | system | opening unit unit … | answer | opening unit … | answer | …
 *            |<------- turn ---------------->|
 * A turn's opening closes the answer before it and ends with the user's header. Forgetting a turn therefore keeps its
 * opening and cuts everything after it up to the end of the next turn's opening: what is left still reads well.
 */
import type { PromptSpans } from "../inference/index.ts"

/** Positions [start, end); the first `openingLength` of them are the turn's opening. */
export type Unit = { readonly start: number; readonly openingLength: number; readonly end: number }

type Turn = {
  readonly start: number
  /** End of the opening. */
  readonly contentStart: number
  readonly unitEnds: readonly number[]
  /** From the words that open the answer; its text begins at `textStart`. */
  readonly answer: { readonly start: number; readonly textStart: number; readonly end: number } | undefined
}

/** Positions [start, end) that embeddings of images or sound fill. */
export type MediaSpan = { readonly kind: "image" | "audio"; readonly start: number; readonly end: number }

export type LedgerData = {
  readonly system: number
  readonly turns: readonly Turn[]
  readonly media: readonly MediaSpan[]
}

export type DropPlan = {
  /** Ranges to cut, last one first, in positions of before. */
  readonly cuts: readonly (readonly [from: number, to: number])[]
  readonly droppedPositions: number
  readonly droppedUnits: number
  readonly droppedTurns: number
  /** Positions cut before a position of before. */
  readonly droppedBefore: (position: number) => number
}

export class Ledger {
  private system: number
  private turns: Turn[]
  private media: MediaSpan[]

  constructor(data: LedgerData = { system: 0, turns: [], media: [] }) {
    this.system = data.system
    this.turns = [...data.turns]
    this.media = [...data.media]
  }

  copy(): Ledger {
    return new Ledger(this.data)
  }

  get data(): LedgerData {
    return { system: this.system, turns: [...this.turns], media: [...this.media] }
  }

  /** Notes what fills a piece that was read at `start`. */
  addMedia(start: number, { imageSpans, audioSpans }: Pick<PromptSpans, "imageSpans" | "audioSpans">): void {
    for (const [kind, spans] of [
      ["image", imageSpans],
      ["audio", audioSpans],
    ] as const) {
      for (const [from, to] of spans) this.media.push({ kind, start: start + from, end: start + to })
    }
  }

  /** Positions by what fills them; the rest is text. */
  mediaPositions(kind: MediaSpan["kind"]): number {
    return this.media.reduce((sum, span) => sum + (span.kind === kind ? span.end - span.start : 0), 0)
  }

  addSystem(length: number): void {
    this.system = length
  }

  addUnit({ start, openingLength, end }: Unit): void {
    const last = this.turns.at(-1)
    if (last && openingLength === 0 && !last.answer) {
      this.turns[this.turns.length - 1] = { ...last, unitEnds: [...last.unitEnds, end] }
      return
    }
    this.turns.push({ start, contentStart: start + openingLength, unitEnds: [end], answer: undefined })
  }

  openAnswer(start: number, textStart: number): void {
    const last = this.turns.at(-1)
    const answer = { start, textStart, end: textStart }
    if (last && !last.answer) this.turns[this.turns.length - 1] = { ...last, answer }
    else this.turns.push({ start, contentStart: start, unitEnds: [], answer })
  }

  /** An answer that is read whole. */
  addAnswer(start: number, textStart: number, end: number): void {
    this.openAnswer(start, textStart)
    this.closeAnswer(end)
  }

  closeAnswer(end: number): void {
    const last = this.turns.at(-1)!
    this.turns[this.turns.length - 1] = { ...last, answer: { ...last.answer!, end } }
  }

  /** Whether nothing follows the latest answer. */
  latestIsAnswer(): boolean {
    return this.turns.at(-1)?.answer !== undefined
  }

  /** Where the text of the answer that ends at a position begins. */
  textStartBefore(end: number): number | undefined {
    return this.turns.find(({ answer }) => answer?.end === end)?.answer?.textStart
  }

  /** Positions [from, to) at the end of an answer were cut. */
  cut(from: number, to: number): void {
    const move = (position: number) => (position >= to ? position - (to - from) : Math.min(position, from))
    this.turns = this.turns.map((turn) => shifted(turn, move))
    this.moveMedia(move)
  }

  /** Takes the latest turn's latest unit out. @returns where it was; undefined when there is none */
  removeLatestUnit(): readonly [from: number, to: number] | undefined {
    const turn = this.turns.at(-1)
    const to = turn?.unitEnds.at(-1)
    if (!turn || to === undefined) return undefined
    const unitEnds = turn.unitEnds.slice(0, -1)
    const from = unitEnds.at(-1) ?? turn.contentStart
    this.turns[this.turns.length - 1] = { ...turn, unitEnds }
    this.cut(from, to)
    return [from, to]
  }

  /** Everything from a position on is gone; answers are not cut. */
  truncate(length: number): void {
    this.turns = this.turns
      .filter(({ start }) => start < length)
      .map(({ unitEnds, answer, ...turn }) => ({
        ...turn,
        unitEnds: unitEnds.filter((end) => end <= length),
        answer: answer && { ...answer, end: Math.min(answer.end, length) },
      }))
    this.media = this.media.filter(({ end }) => end <= length)
  }

  private moveMedia(move: (position: number) => number): void {
    this.media = this.media.flatMap(({ kind, start, end }) => {
      const moved = { kind, start: move(start), end: move(end) }
      return moved.end > moved.start ? [moved] : []
    })
  }

  /**
   * What to forget to free so many positions, oldest first: whole turns, then of the only one left its units, and as the last
   * resort the beginning of its answer. May free less when there is not more.
   * @param keepsQuestion whether the latest unit stays, where nothing answers it yet
   */
  plan(needed: number, keepsQuestion: boolean): DropPlan {
    let droppedTurns = 0
    let droppedUnits = 0
    let freed = 0
    const cuts: [from: number, to: number][] = []
    const cut = (from: number, to: number) => {
      if (to <= from) return
      freed += to - from
      const last = cuts.at(-1)
      if (last?.[1] === from) last[1] = to
      else cuts.push([from, to])
    }
    const first = this.turns[0]
    if (first) {
      // An answer that nobody asked for has no opening of its turn to keep: its own stays, and the next turn's.
      const isAsked = first.contentStart > first.start || !first.answer
      const from = isAsked ? first.contentStart : first.answer!.textStart
      let to = from
      while (to - from < needed && droppedTurns + 1 < this.turns.length) {
        droppedUnits += this.turns[droppedTurns]!.unitEnds.length
        const { start, contentStart } = this.turns[++droppedTurns]!
        to = isAsked ? contentStart : start
      }
      cut(from, to)
      const { contentStart, unitEnds, answer } = this.turns[droppedTurns]!
      let at = contentStart
      for (const end of keepsQuestion && !answer ? unitEnds.slice(0, -1) : unitEnds) {
        if (freed >= needed) break
        cut(at, end)
        at = end
        droppedUnits++
      }
      if (answer) cut(answer.textStart, Math.min(answer.end, answer.textStart + needed - freed))
    }
    const droppedBefore = (position: number) =>
      cuts.reduce((sum, [from, to]) => sum + Math.max(0, Math.min(position, to) - from), 0)
    return { cuts: cuts.toReversed(), droppedPositions: freed, droppedUnits, droppedTurns, droppedBefore }
  }

  apply({ droppedPositions, droppedTurns, droppedBefore }: DropPlan): void {
    if (droppedPositions === 0) return
    const start = this.turns[0]!.start
    const move = (position: number) => position - droppedBefore(position)
    this.turns = this.turns.slice(droppedTurns).map((turn, i) => {
      const moved = shifted(turn, move)
      if (i > 0) return moved
      return { ...moved, start, unitEnds: moved.unitEnds.filter((end) => end > moved.contentStart) }
    })
    this.moveMedia(move)
  }
}

function shifted(turn: Turn, move: (position: number) => number): Turn {
  const { start, contentStart, unitEnds, answer } = turn
  return {
    start: move(start),
    contentStart: move(contentStart),
    unitEnds: unitEnds.map(move),
    answer: answer && { start: move(answer.start), textStart: move(answer.textStart), end: move(answer.end) },
  }
}
