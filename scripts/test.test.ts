/** @file The counting behind `npm test`, and what too old a Node.js is told. */
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { expect, test } from "vitest"
import { countTests } from "./test.ts"

const outcome = (fullName: string, state: "passed" | "failed" | "skipped" | "pending", note?: string) => ({
  fullName,
  result: () => ({ state, note }),
})

test("outcomes are counted and skips keep their reasons", () => {
  const count = countTests([
    outcome("a", "passed"),
    outcome("b", "failed"),
    outcome("c", "pending"),
    outcome("gpu [skipped: no driver (install libvulkan1)] > d", "skipped"),
    outcome("gpu [skipped: no driver (install libvulkan1)] > e", "skipped"),
    outcome("f", "skipped", "no network"),
    outcome("g", "skipped"),
  ])
  expect(count).toMatchObject({ passed: 1, failed: 2, skipped: 4 })
  expect([...count.reasons]).toEqual([
    ["no driver (install libvulkan1)", 2],
    ["no network", 1],
    ["no reason given: g", 1],
  ])
})

test("too old a Node.js is told what to do", () => {
  const script = join(import.meta.dirname, "check-node.mjs")
  const under = (version: string) =>
    spawnSync(process.execPath, [
      "--input-type=module",
      "-e",
      `Object.defineProperty(process.versions, "node", { value: "${version}" })
       process.argv[1] = ${JSON.stringify(script)}
       await import(${JSON.stringify(script)})`,
    ])
  const old = under("20.20.2")
  expect(old.status).toBe(1)
  expect(old.stderr.toString()).toContain("omni: expected Node.js 24 or later, got 20.20.2 (run it through npm,")
  expect(under("24.0.0").status).toBe(0)
})
