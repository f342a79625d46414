/** @file A call that is saved to a file in one process and goes on in another, as it would have gone on in the first. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { CHECKPOINT } from "../convert/folders.test-util.node.ts"
import { convertCheckpoint } from "../convert/index.node.ts"
import type { CallOptions, CallSnapshot } from "../session/index.ts"
import { answer, endOf, GREEDY, tone } from "./engine.test-util.node.ts"
import type { EngineCall } from "./engine.ts"
import type { LoadOptions } from "./messages.ts"
import { startEngineProcess } from "./process.node.ts"

const OPTIONS: CallOptions = { ...GREEDY, mode: "omni", turns: { threshold: 0.4 }, contextPositions: 600 }
const picture = { width: 40, height: 30, data: new Uint8Array(40 * 30 * 3).fill(77) }

async function engineProcess(change: Partial<LoadOptions> = {}) {
  const { client, pid } = startEngineProcess()
  const options = {
    model: CHECKPOINT,
    device: "cpu",
    quantize: "none",
    threads: 1,
    cacheFolder: "cache",
    ...change,
  } as const
  await client.load(options)
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

test("it goes on with the same weights stored otherwise, and with no others of the same sizes", {
  timeout: 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "omni-call-"))
  try {
    let snapshot: CallSnapshot
    {
      await using engine = await engineProcess()
      await using call = await engine.client.call(GREEDY)
      snapshot = await call.snapshot()
    }
    {
      const copy = join(folder, "copy") // quantized weights are kept in the model's folder
      await cp(CHECKPOINT, copy, { recursive: true })
      await using engine = await engineProcess({ model: copy, quantize: "int8" })
      await using call = await engine.client.call(GREEDY, { snapshot })
      expect(endOf(await answer(call, { speak: false, maxNewTokens: 3 })).finishReason).toBe("length")
      // Calls that were saved when models were named by less.
      for (const rest of [/,origin=.*/, /,weights=.*/]) {
        const earlier = { ...snapshot, model: snapshot.model.replace(rest, "") }
        await (await engine.client.call(GREEDY, { snapshot: earlier })).close()
      }
      const out = join(folder, "int4")
      await convertCheckpoint({ directory: copy, quantize: "int4", out })
      await using small = await engineProcess({ model: out, quantize: "auto" })
      await (await small.client.call(GREEDY, { snapshot })).close()
    }
    // One value, and projections as LoRA changes them: every row.
    for (const [name, quantize, values] of [
      ["llm.model.norm.weight", "none", 1],
      ["llm.model.layers.1.self_attn.q_proj.weight", "none", Number.POSITIVE_INFINITY],
      ["llm.model.layers.1.mlp.down_proj.weight", "int8", Number.POSITIVE_INFINITY],
    ] as const) {
      const tuned = join(folder, name)
      await cp(CHECKPOINT, tuned, { recursive: true })
      await changeTensor(tuned, name, values)
      await using engine = await engineProcess({ model: tuned, quantize })
      await expect(engine.client.call(GREEDY, { snapshot }), name).rejects.toThrow(
        "expected one of this model, got one of another",
      )
    }
  } finally {
    await rm(folder, { recursive: true })
  }
})

/** Changes the first values of a tensor in a folder's safetensors a little. */
async function changeTensor(folder: string, name: string, values: number): Promise<void> {
  for (const file of (await readdir(folder)).filter((one) => one.endsWith(".safetensors"))) {
    const bytes = await readFile(join(folder, file))
    const length = Number(bytes.readBigUInt64LE(0))
    const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as { [tensor: string]: { data_offsets: number[] } }
    const offsets = header[name]?.data_offsets
    if (!offsets) continue
    for (let at = offsets[0]!; at < Math.min(offsets[1]!, offsets[0]! + 4 * values); at += 4)
      bytes[8 + length + at]! ^= 1
    await writeFile(join(folder, file), bytes)
    return
  }
  throw new Error(`no ${name}`)
}
