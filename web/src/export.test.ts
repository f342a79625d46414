/** @file What a saved conversation looks like, and which language the page takes. */
import { expect, test } from "vitest"
import { callText, chatText, fileName } from "./export.ts"
import { en } from "./i18n/en.ts"
import { preferredLocale } from "./i18n/index.ts"
import { zh } from "./i18n/zh.ts"

test("a call as text names who spoke, what nobody wrote down and what was interrupted", () => {
  const lines = [
    { id: "1", role: "user", text: undefined, state: "done" },
    { id: "2", role: "assistant", text: "Hello", state: "cut" },
  ] as const
  expect(callText(lines, en)).toBe("You: [Spoken]\n\nomni: Hello [interrupted]\n")
  expect(callText([], en)).toBe("")
})

test("a chat as text names its files", () => {
  const file = { id: "f", name: "cat.png", kind: "image", url: "", parts: [] } as const
  const lines = [{ id: 1, role: "user", text: "What is it?", attachments: [file], state: "done" }] as const
  expect(chatText(lines, zh)).toBe("您: [cat.png] What is it?\n")
})

test("file names sort by time", () => {
  expect(fileName("wav", new Date(2026, 10, 4, 9, 5))).toBe("omni 2026-11-04 09.05.wav")
})

test("the page speaks the first of the browser's languages that it knows", () => {
  expect(preferredLocale(["fr-FR", "zh-TW", "en"])).toBe("zh")
  expect(preferredLocale(["de"])).toBe("en")
})

test("no translation is left empty or in the other language", () => {
  const call = (value: unknown): string =>
    typeof value === "function" ? String((value as (...args: unknown[]) => unknown)(1, 2)) : String(value)
  const same = (Object.keys(en) as (keyof typeof en)[]).filter(
    (key) => call(en[key]) === call(zh[key]) || call(zh[key]) === "",
  )
  expect(same).toEqual(["modelSays", "noFigure"])
})
