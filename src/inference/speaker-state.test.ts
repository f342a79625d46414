import { expect, test } from "vitest"
import { f32 } from "../tensor/index.ts"
import { InputError } from "../util/index.ts"
import { speakerState } from "./speaker-state.ts"

/** A norm that doubles. */
const model = {
  normed: async (hidden: { shape: readonly number[]; data: unknown }) => double(hidden.data as Float32Array),
}
const double = (data: Float32Array) =>
  f32(
    [1, 1, data.length],
    data.map((value) => 2 * value),
  )
const hidden = f32([1, 5, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])

test("the normed state at the last speaker slot", async () => {
  const spans = [
    [1, 2],
    [3, 4],
  ] as const
  expect(await speakerState(model, hidden, { speakerSpans: spans })).toEqual(f32([1, 2], [12, 14]))
})

test("a prompt without a slot has none", async () => {
  const refused = speakerState(model, hidden, { speakerSpans: [] })
  await expect(refused).rejects.toThrow(InputError)
  await expect(refused).rejects.toThrow(
    "speech: expected a prompt with a speaker slot, got one without (use the speech template)",
  )
})
