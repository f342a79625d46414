/** @file Forgetting by the ledger, against a list that holds what each position is. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { Ledger } from "./ledger.ts"

type Turn = { units: number[]; answer: number | undefined }

const OPENING = 3

/** A ledger of these turns, and what lies at each position. */
function build(system: number, turns: readonly Turn[]) {
  const ledger = new Ledger()
  const cells: string[] = Array.from({ length: system }, () => "system")
  ledger.addSystem(system)
  turns.forEach(({ units, answer }, t) => {
    units.forEach((length, u) => {
      const openingLength = u === 0 ? OPENING : 0
      const start = cells.length
      for (let i = 0; i < openingLength; i++) cells.push("opening")
      for (let i = 0; i < length; i++) cells.push(`unit ${t}.${u}`)
      // Every unit ends with a position of sound.
      ledger.addMedia(start, { imageSpans: [], audioSpans: [[openingLength + length - 1, openingLength + length]] })
      ledger.addUnit({ start, openingLength, end: cells.length })
    })
    if (answer === undefined) return
    const start = cells.length
    cells.push("answer opening")
    ledger.openAnswer(start, cells.length)
    for (let i = 0; i < answer; i++) cells.push(`answer ${t}`)
    ledger.closeAnswer(cells.length)
  })
  return { ledger, cells }
}

/** What the ledger says of each position, by walking its data. */
function described({ system, turns }: Ledger["data"]): [start: number, end: number, what: string][] {
  const spans: [number, number, string][] = [[0, system, "system"]]
  for (const { start, contentStart, unitEnds, answer } of turns) {
    spans.push([start, contentStart, "opening"])
    let from = contentStart
    for (const end of unitEnds) {
      spans.push([from, end, "unit"])
      from = end
    }
    if (answer) spans.push([answer.start, answer.textStart, "answer opening"], [answer.textStart, answer.end, "answer"])
  }
  return spans
}

const turn = fc.record({
  units: fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 5 }),
  answer: fc.nat(6),
})
/** Every turn but the last has an answer. */
const conversation = fc
  .tuple(fc.array(turn, { maxLength: 4 }), turn, fc.boolean())
  .map(([turns, last, open]): Turn[] => [...turns, { ...last, answer: open ? undefined : last.answer }])

test("after forgetting, every position is still what the ledger says", () => {
  fc.assert(
    fc.property(
      fc.nat(5),
      conversation,
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }),
      fc.boolean(),
      (system, turns, needs, keepsQuestion) => {
        const { ledger, cells } = build(system, turns)
        const last = cells.at(-1)
        for (const needed of needs) {
          const plan = ledger.plan(needed, keepsQuestion)
          const most = ledger.plan(Number.POSITIVE_INFINITY, keepsQuestion).droppedPositions
          expect(plan.droppedPositions).toBeGreaterThanOrEqual(Math.min(needed, most))
          for (const [from, to] of plan.cuts) cells.splice(from, to - from)
          ledger.apply(plan)
          expect(cells.filter((cell) => cell === "system").length).toBe(system)
          if (keepsQuestion && last!.startsWith("unit")) expect(cells.at(-1)).toBe(last)
          const spans = described(ledger.data)
          expect(spans.at(-1)![1]).toBe(cells.length)
          const lastOfUnits = cells.filter((cell, i) => cell.startsWith("unit") && cell !== cells[i + 1])
          expect(ledger.mediaPositions("audio")).toBe(lastOfUnits.length)
          expect(ledger.mediaPositions("image")).toBe(0)
          let at = 0
          for (const [start, end, what] of spans) {
            expect(start).toBe(at)
            const kinds = new Set(cells.slice(start, end).map((cell) => cell.replace(/ [\d.]+$/, "")))
            expect(kinds.size).toBeLessThanOrEqual(1)
            if (end > start) expect([...kinds]).toEqual([what])
            at = end
          }
        }
      },
    ),
  )
})

test("of all that was said only openings have to stay", () => {
  fc.assert(
    fc.property(conversation, (turns) => {
      const { ledger, cells } = build(2, turns)
      const plan = ledger.plan(Number.POSITIVE_INFINITY, false)
      for (const [from, to] of plan.cuts) cells.splice(from, to - from)
      const closing = turns.at(-1)!.answer === undefined ? [] : ["answer opening"]
      expect(cells).toEqual(["system", "system", ...new Array<string>(OPENING).fill("opening"), ...closing])
    }),
  )
})

test("positions of before find their place after", () => {
  fc.assert(
    fc.property(conversation, fc.integer({ min: 1, max: 40 }), (turns, needed) => {
      const { ledger, cells } = build(2, turns)
      const plan = ledger.plan(needed, false)
      const names = cells.map((_, i) => i)
      for (const [from, to] of plan.cuts) names.splice(from, to - from)
      names.forEach((before, after) => {
        expect(before - plan.droppedBefore(before)).toBe(after)
      })
    }),
  )
})

test("cutting an answer's end moves what follows", () => {
  const { ledger } = build(1, [
    { units: [2], answer: 5 },
    { units: [2], answer: 1 },
  ])
  const { answer } = ledger.data.turns[0]!
  ledger.cut(answer!.end - 3, answer!.end)
  expect(ledger.data.turns[0]!.answer!.end).toBe(answer!.end - 3)
  expect(ledger.data.turns[1]!.start).toBe(answer!.end - 3)
})
