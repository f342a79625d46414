/** @file An engine hangs when it says nothing in all parts of the allowed silence, and never because time passed unseen. */
import { expect, test } from "vitest"
import { isSilent } from "./watchdog.ts"

/** Pauses that are over at once; `at` is told of each, and may answer or end. */
function pauses(at: (part: number) => void) {
  const lengthsMs: number[] = []
  return {
    lengthsMs,
    wait: async (ms: number) => {
      lengthsMs.push(ms)
      at(lengthsMs.length)
      await new Promise(setImmediate)
    },
  }
}

test("silent through all parts: as long as allowed, and no longer", async () => {
  const { wait, lengthsMs } = pauses(() => undefined)
  const asked = { times: 0 }
  const ask = () => {
    asked.times++
    return new Promise<never>(() => undefined)
  }
  expect(await isSilent(ask, 120_000, new AbortController().signal, wait)).toBe(true)
  expect(lengthsMs.reduce((sum, ms) => sum + ms, 0)).toBeCloseTo(120_000)
  expect(asked.times).toBe(1)
})

test("an answer in the last part, and a refusal, are signs of life, and the silence begins anew", async () => {
  const ended = new AbortController()
  const answers: (() => void)[] = []
  const { wait } = pauses((part) => {
    if (part === 11) answers[0]!()
    if (part === 22) answers[1]!()
    if (part === 33) ended.abort()
  })
  const ask = () =>
    new Promise<void>((resolve, reject) => {
      answers.push(answers.length === 0 ? resolve : () => reject(new Error("no")))
    })
  expect(await isSilent(ask, 120_000, ended.signal, wait)).toBe(false)
  expect(answers.length).toBe(3)
})

test("one that answers is asked once in a while, not all the time", async () => {
  const ended = new AbortController()
  const { wait, lengthsMs } = pauses((part) => part === 20 && ended.abort())
  const asked = { times: 0 }
  const ask = async () => void asked.times++
  expect(await isSilent(ask, 120_000, ended.signal, wait)).toBe(false)
  expect([asked.times, lengthsMs.length]).toEqual([20, 20])
})

test("no pause is longer than timers hold", async () => {
  const { wait, lengthsMs } = pauses(() => undefined)
  expect(await isSilent(() => new Promise(() => undefined), 1e15, new AbortController().signal, wait)).toBe(true)
  expect(Math.max(...lengthsMs)).toBe(2 ** 31 - 1)
})
