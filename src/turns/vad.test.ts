import { expect, test } from "vitest"
import type { OnnxModel } from "../runtime/index.ts"
import { f32 } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import { createVad } from "./vad.ts"

/** A stand-in with Silero's interface that reports what it was fed: the mean of the window as "probability". */
function recorder(): OnnxModel & { rows: Float32Array[] } {
  const rows: Float32Array[] = []
  return {
    rows,
    inputNames: ["sr", "input", "state"],
    outputNames: ["output", "stateN"],
    async run({ input, state, sr }) {
      expect([input!.shape, state!.shape, sr!.shape, sr!.data]).toEqual([
        [1, 576],
        [2, 1, 128],
        [],
        BigInt64Array.of(16000n),
      ])
      rows.push((input!.data as Float32Array).slice())
      const stateN = (state!.data as Float32Array).map((value) => value + 1)
      return { output: f32([1, 1], [stateN[0]! / 1000]), stateN: f32([2, 1, 128], stateN) }
    },
    async [Symbol.asyncDispose]() {},
  }
}

test("windows follow one another, each after the last 64 samples of the one before; state is handed on", async () => {
  const model = recorder()
  const vad = createVad(model)
  const pcm = Float32Array.from({ length: 3 * 512 + 100 }, (_, i) => i + 1)
  const [probabilities, state] = await vad.step(vad.init(), pcm)
  expect([...probabilities].map((value) => Math.round(value * 1000))).toEqual([1, 2, 3])
  const before = [...new Float32Array(64), ...pcm]
  expect(model.rows.map((row) => [...row])).toEqual([0, 512, 1024].map((at) => before.slice(at, at + 576)))
  expect([...state.pending]).toEqual([...pcm.subarray(1536)])
  expect([...state.context]).toEqual([...pcm.subarray(1536 - 64, 1536)])
  expect([...new Set(state.hidden)]).toEqual([3])
})

test("chunks shorter than a window only wait", async () => {
  const model = recorder()
  const vad = createVad(model)
  const [none, waiting] = await vad.step(vad.init(), new Float32Array(511))
  expect([none.length, model.rows.length, waiting.pending.length]).toEqual([0, 0, 511])
  const [still] = await vad.step(waiting, new Float32Array(0))
  expect(still.length).toBe(0)
  const [one] = await vad.step(waiting, new Float32Array(1))
  expect(one.length).toBe(1)
})

test("refuses a model with another interface", () => {
  const legacy = { ...recorder(), inputNames: ["input", "sr", "h", "c"] }
  expect(() => createVad(legacy)).toThrow(CheckpointError)
  expect(() => createVad(legacy)).toThrow("vad: expected the inputs input, state, sr, got input, sr, h, c (take silero")
})
