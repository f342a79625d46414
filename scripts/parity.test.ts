/** @file The parity command: its lines, its last line, its exit codes. */
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { describe, expect, test } from "vitest"

const ROOT = join(import.meta.dirname, "..")
const TINY = join(ROOT, "test/fixtures/tiny-a")

function parity(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "scripts/parity.ts"), ...args], {
    encoding: "utf8",
  })
  return { status, lines: stdout.trimEnd().split("\n"), complaint: stderr.trim() }
}

describe("parity", () => {
  test("prints a line for each case and a sum; a name that no case has fails", () => {
    const good = parity(TINY, "--device", "reference", "--only", "tokenizer,tts_*izer")
    expect(good).toMatchObject({ status: 0, complaint: "" })
    expect(good.lines).toEqual([
      expect.stringMatching(/^ok {3}tokenizer +0\.00e\+0 +\d+ ms$/),
      expect.stringMatching(/^ok {3}tts_tokenizer +0\.00e\+0 +\d+ ms$/),
      "2 passed, 0 failed",
    ])
    const typo = parity(TINY, "--device", "reference", "--only", "tokenizer,tokeniser")
    expect(typo.status).toBe(1)
    expect(typo.lines.slice(1)).toEqual([
      expect.stringMatching(/^FAIL tokeniser +not run$/),
      expect.stringMatching(/^ {7}no such case in .*tiny-a$/),
      "1 passed, 1 failed",
    ])
  })

  test.each([
    [[], "expected one folder of goldens, got 0 (npm run parity -- DIR "],
    [[TINY, "--device", "abacus"], "--device: expected reference, cpu or webgpu, got abacus"],
    [[TINY, "--threads", "many"], "--threads: expected a whole number ≥ 1, got many"],
    [[join(TINY, "assets")], "cases.json: expected a file in "],
  ])("says what is wrong with %j, exit code 2", (args, message) => {
    const { status, complaint } = parity(...args)
    expect(status).toBe(2)
    expect(complaint).toContain(message)
  })
})
