import { expect, test } from "vitest"
import { unusedCharacter } from "./private-use.ts"

const all = String.fromCharCode(...Array.from({ length: 6400 }, (_, i) => 0xe000 + i))

test("the first character that no text has", () => {
  expect(unusedCharacter([])).toBe("\ue000")
  expect(unusedCharacter(["a\ud7ff\uf900", ""])).toBe("\ue000")
  expect(unusedCharacter(["\ue001", "x\ue000"])).toBe("\ue002")
  expect(unusedCharacter([all.slice(0, -1)])).toBe("\uf8ff")
  expect(unusedCharacter([all.slice(0, 9), all.slice(9)])).toBeUndefined()
})
