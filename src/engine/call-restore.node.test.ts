/** @file A call that is saved to a file in one process and goes on in another, as it would have gone on in the first. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { CHECKPOINT } from "../convert/folders.test-util.node.ts"
import type { CallOptions, CallSnapshot } from "../session/index.ts"
import { answer, endOf, GREEDY, tone } from "./engine.test-util.node.ts"
import type { EngineCall } from "./engine.ts"
import { startEngineProcess } from "./process.node.ts"

const OPTIONS: CallOptions = { ...GREEDY, mode: "omni", turns: { threshold: 0.4 }, contextPositions: 600 }
const picture = { width: 40, height: 30, data: new Uint8Array(40 * 30 * 3).fill(77) }

async function engineProcess() {
  const { client, pid } = startEngineProcess()
  await client.load({ model: CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" })
  return { client, pid, [Symbol.asyncDispose]: () => client.close() }
}

/** The rest of a conversation: everything that it says, spoken sound included. */
async function goOn(call: EngineCall) {
  const said: unknown[] = []
  for (let turn = 0; turn < 3; turn++) {
    await call.push({ pcm: tone(20_000, turn + 2), frame: picture })
    const events = await answer(call, { speak: turn < 2, maxNewTokens: 14 })
    said.push(events.map((event) => (event.type === "audio-delta" ? [...event.pcm.subarray(0, 50)] : event.type)))
    const { text, promptTokens, usage, audioMs } = endOf(events)
    said.push({ text, promptTokens, usage, audioMs })
  }
  return said
}

test("restored in a new process it says the same, sound and all", { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "omni-call-"))
  try {
    const file = join(folder, "call.bin")
    let direct: unknown
    let firstPid: number | undefined
    {
      await using engine = await engineProcess()
      firstPid = engine.pid
      await using call = await engine.client.call(OPTIONS)
      await call.push({ pcm: tone(40_000), frame: picture })
      await answer(call, { speak: true })
      await call.interrupt({ heardMs: 150 })
      await call.push({ pcm: tone(9000, 3) })
      const { version, model, bytes } = await call.snapshot()
      await writeFile(file, bytes)
      await writeFile(`${file}.json`, JSON.stringify({ version, model }))
      direct = await goOn(call)
    }
    await using engine = await engineProcess()
    expect(engine.pid).not.toBe(firstPid)
    const head = JSON.parse(await readFile(`${file}.json`, "utf8")) as Omit<CallSnapshot, "bytes">
    const snapshot = { ...head, bytes: new Uint8Array(await readFile(file)) }
    await using restored = await engine.client.call(OPTIONS, { snapshot })
    expect(await goOn(restored)).toEqual(direct)
  } finally {
    await rm(folder, { recursive: true })
  }
})
