import { expect, test } from "vitest"
import { ConfigError, InputError } from "../util/index.ts"
import { outputOf, runProgram } from "./program.ts"

const node = process.execPath
const script = (text: string): string[] => ["-e", text]
const options = { source: "clip.mp4" }

async function drain(args: string[], more: object = {}): Promise<string> {
  return new TextDecoder().decode(await outputOf(node, args, { ...options, maxBytes: 1 << 20, ...more }))
}

test("gives the output", async () => {
  expect(await drain(script("console.log('a'); console.log(process.argv.length)"))).toBe("a\n1\n")
})

test("a failure is told by the last line of its complaint", async () => {
  const failing = drain(script("console.error('first'); console.error('second'); process.exit(3)"))
  await expect(failing).rejects.toThrow(InputError)
  await expect(failing).rejects.toThrow(
    /^clip\.mp4: expected a file that .* can read, got: second \(is it complete\?\)$/,
  )
  await expect(drain(script("process.exit(3)"))).rejects.toThrow("got: exit code 3")
})

test("a missing program is told with what to do", async () => {
  const failing = outputOf("no-such-program", [], { ...options, maxBytes: 1 })
  await expect(failing).rejects.toThrow(ConfigError)
  await expect(failing).rejects.toThrow("clip.mp4: expected the program no-such-program to read it, got none (install")
})

test("too much output is refused", async () => {
  const endless = script("const write = () => process.stdout.write('x'.repeat(65536), write); write()")
  await expect(drain(endless, { maxBytes: 1000 })).rejects.toThrow("clip.mp4: expected at most 1000 bytes from")
})

test("silence is not waited for", async () => {
  await expect(drain(script("setInterval(() => {}, 1000)"), { stallMs: 300 })).rejects.toThrow(
    /^clip\.mp4: expected .* to go on, got nothing for 300 ms/,
  )
})

test("who stops reading ends the child, even with output unread", async () => {
  const endless = script(
    "process.stdout.write(process.pid + '\\n'); setInterval(() => process.stdout.write('x'.repeat(1e6)), 1)",
  )
  let pid = 0
  for await (const piece of runProgram(node, endless, options)) {
    pid = Number.parseInt(new TextDecoder().decode(piece), 10)
    await new Promise((resolve) => setTimeout(resolve, 50)) // output piles up
    break
  }
  expect(pid).toBeGreaterThan(0)
  expect(() => process.kill(pid, 0)).toThrow("ESRCH")
})

test("aborting ends the child and throws the reason", async () => {
  const controller = new AbortController()
  const reason = new Error("enough")
  setTimeout(() => controller.abort(reason), 100)
  await expect(drain(script("setInterval(() => {}, 1000)"), { signal: controller.signal })).rejects.toBe(reason)
  await expect(drain(script(""), { signal: controller.signal })).rejects.toBe(reason)
})
