import { expect, test } from "vitest"
import { type SavedState, SavedStates } from "./saved-states.ts"

const state = (bytes: number): SavedState => ({
  snapshot: { version: 1, model: "m", bytes: new Uint8Array(bytes) },
  ...{ key: "", itemIds: new Set(), heardMs: 0 },
})

test("the oldest make room, and what is replaced or deleted gives its room back", () => {
  const states = new SavedStates(250)
  const [a, b, c] = [{}, {}, {}]
  states.set(a, state(100))
  states.set(b, state(100))
  states.set(a, state(120))
  expect([states.bytes, states.get(a) !== undefined, states.get(b) !== undefined]).toEqual([220, true, true])
  states.set(c, state(100))
  expect([states.bytes, states.get(b)]).toEqual([220, undefined])
  states.delete(a)
  expect(states.bytes).toBe(100)
  states.set(c, state(300))
  expect([states.bytes, states.get(c)]).toEqual([0, undefined])
})
