/** @file Every example: short, with its command in the header, and running on the recorded checkpoint. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"

const ROOT = join(import.meta.dirname, "..")
const EXAMPLES = join(ROOT, "examples")
const TINY = join(ROOT, "test", "fixtures", "tiny-a")
const MODEL = ["--model", join(TINY, "checkpoint")]
const IMAGE = join(TINY, "assets", "images", "small_50x40_rgba.png")
const SPEECH = join(TINY, "assets", "audio", "speech_en.wav")
const folder = mkdtempSync(join(tmpdir(), "omni-examples-"))

afterAll(() => rmSync(folder, { recursive: true }))

async function run(example: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(EXAMPLES, example), ...args, ...MODEL], { stdio: "pipe" })
  let [stdout, stderr] = ["", ""]
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  const [code] = (await once(child, "close")) as [number]
  expect([code, code === 0 ? "" : stderr]).toEqual([0, ""])
  return { stdout, stderr }
}

describe("each example", () => {
  test.each(readdirSync(EXAMPLES).filter((name) => name.endsWith(".ts")))(
    "%s is short, and says how to run it",
    (name) => {
      const text = readFileSync(join(EXAMPLES, name), "utf8")
      expect(text.split("\n").length).toBeLessThanOrEqual(80)
      expect(text).toMatch(/^\/\*\*\n \* @file /)
      expect(text).toContain(` *   node examples/${name} `)
      expect(text).toContain('from "omni"')
    },
  )
})

test("chat-with-image answers", async () => {
  const { stdout, stderr } = await run("chat-with-image.ts", IMAGE, "What is this?", "--max-tokens", "8")
  expect(stdout.length).toBeGreaterThan(1)
  expect(stderr).toMatch(/checkpoint on cpu, none\n\d+ positions read in \d+ ms, first text after \d+ ms\n$/)
})

test("live-call writes the spoken answer", async () => {
  const out = join(folder, "answer.wav")
  const { stderr } = await run("live-call.ts", SPEECH, out, "--frame", IMAGE, "--voice", SPEECH, "--max-tokens", "20")
  expect(stderr).toMatch(/heard 1000 ms in \d+ ms\n/)
  expect(stderr).toMatch(/first text after \d+ ms, first sound after \d+ ms\n$/)
  const wav = readFileSync(out)
  expect(wav.toString("latin1", 0, 4)).toBe("RIFF")
  expect(wav.length).toBeGreaterThan(10_000)
})

test("interrupt-and-save keeps what was heard, and goes on in another process", async () => {
  const file = join(folder, "call.bin")
  const first = await run("interrupt-and-save.ts", file, "Tell me a long story.")
  expect(first.stderr).toBe("a new call\n")
  const { written, heard, soundMs } = JSON.parse(first.stdout) as { written: string; heard: string; soundMs: number }
  expect(soundMs).toBeGreaterThan(400)
  expect(heard.length).toBeLessThan(written.length)
  expect(written.startsWith(heard.slice(0, -1))).toBe(true)
  const second = await run("interrupt-and-save.ts", file, "Now the end of it.")
  expect(second.stderr).toBe(`going on with ${file}\n`)
})
