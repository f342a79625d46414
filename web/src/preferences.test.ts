/** @file Stored preferences come back; damaged ones do no harm. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { DEFAULT_SETTINGS } from "./call/settings.ts"
import { parsePreferences } from "./preferences.ts"

test("what was stored comes back", () => {
  const settings = {
    ...DEFAULT_SETTINGS,
    voice: "v",
    instructions: "Be brief.",
    language: "zh",
    turns: "push",
  } as const
  const preferences = { locale: "zh", theme: "dark", readAloud: true, settings } as const
  expect(parsePreferences(JSON.stringify(preferences), ["en"])).toEqual(preferences)
})

test("anything else gives defaults, field by field", () => {
  const fresh = parsePreferences(null, ["en"])
  expect(fresh).toEqual({ locale: "en", theme: "auto", readAloud: false, settings: DEFAULT_SETTINGS })
  expect(parsePreferences("{", ["en"])).toEqual(fresh)
  expect(parsePreferences('{"theme":"dark","settings":{"turns":7}}', ["en"])).toEqual({ ...fresh, theme: "dark" })
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const { settings } = parsePreferences(JSON.stringify(value), ["en"])
      expect(Object.values(settings).every((one) => typeof one === "string")).toBe(true)
    }),
  )
})
