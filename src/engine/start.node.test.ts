/** @file The engine in its worker thread: the main thread stays free, and whatever happens to the worker ends calls. */
import { monitorEventLoopDelay } from "node:perf_hooks"
import { setImmediate } from "node:timers/promises"
import { afterEach, describe, expect, test } from "vitest"
import { CHECKPOINT } from "../convert/folders.test-util.node.ts"
import type { AnswerEvent } from "../session/index.ts"
import { BackendError, CheckpointError, InputError } from "../util/index.ts"
import type { EngineClient } from "./client.ts"
import type { LoadOptions } from "./messages.ts"
import { asking } from "./model.test-util.ts"
import { startEngine } from "./start.node.ts"

const LOAD: LoadOptions = { model: CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" }

const GREEDY = { temperature: 0, repetitionPenalty: 1 }

const started: EngineClient[] = []
afterEach(async () => {
  for (const engine of started.splice(0)) await engine.close()
})

function start(script?: string): EngineClient {
  const engine = startEngine(
    script === undefined ? undefined : new URL(`data:text/javascript,${encodeURIComponent(script)}`),
  )
  started.push(engine)
  return engine
}

async function textOf(events: AsyncIterable<AnswerEvent>): Promise<string> {
  let text = ""
  for await (const event of events) if (event.type === "text-delta") text += event.text
  return text
}

describe("an engine in a worker", () => {
  test("computes on while the main thread is busy", async () => {
    const engine = start()
    const info = await engine.load(LOAD)
    expect(info).toMatchObject({ device: "cpu", quantize: "none", layers: 3 })
    let events = 0
    const reading = (async () => {
      for await (const _ of engine.chat({ ...asking("hello"), maxNewTokens: 60, ...GREEDY })) events++
    })()
    while (events === 0) await setImmediate()
    const before = events
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500) // nothing runs here meanwhile
    await setImmediate()
    await setImmediate()
    // On one thread, two turns of the event loop are two steps of work.
    expect(events - before).toBeGreaterThan(5)
    await reading
  })

  test("lets the main thread go on with its own work", async () => {
    const engine = start()
    await engine.load(LOAD)
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const long = { ...asking("hello"), maxNewTokens: 60, ...GREEDY }
    const [first, second] = await Promise.all([textOf(engine.chat(long)), textOf(engine.chat(long))])
    delay.disable()
    expect(first).toBe(second)
    expect(first).not.toBe("")
    // How late the turns came is the machine's affair; that they came is ours.
    expect(delay.count).toBeGreaterThan(10)
  })

  test("keeps the classes of errors across the thread, and works on after them", async () => {
    const engine = start()
    await expect(engine.load({ ...LOAD, model: "/nowhere" })).rejects.toThrow(CheckpointError)
    await engine.load(LOAD)
    await expect(textOf(engine.chat({ messages: [] }))).rejects.toThrow(InputError)
    expect(await textOf(engine.chat({ ...asking("hello"), maxNewTokens: 4 }))).not.toBe("")
  })

  test("loads another model while an answer of the first runs on", async () => {
    const engine = start()
    await engine.load(LOAD)
    const request = { ...asking("hello"), maxNewTokens: 40, ...GREEDY }
    const alone = await textOf(engine.chat(request))
    const [answer] = await Promise.all([textOf(engine.chat(request)), engine.load(LOAD)])
    expect(answer).toBe(alone)
    expect(await textOf(engine.chat(request))).toBe(alone)
  })

  test("closes while it answers and while it loads", async () => {
    const engine = start()
    await engine.load(LOAD)
    const answering = textOf(engine.chat({ ...asking("hello"), maxNewTokens: 20_000, temperature: 0 }))
    const outcome = expect(answering).rejects.toThrow(expect.objectContaining({ name: "AbortError" }))
    const loading = expect(engine.load(LOAD)).rejects.toThrow(expect.objectContaining({ name: "AbortError" }))
    await engine.close()
    await Promise.all([outcome, loading])
    await engine.close()
    await expect(engine.load(LOAD)).rejects.toThrow("engine: expected a live engine, got: it was closed")
  })
})

describe("a worker that dies", () => {
  const onCommand = (code: string) =>
    `import { parentPort } from "node:worker_threads"; parentPort.on("message", () => { ${code} })`

  test.each([
    ["by process.exit", onCommand("process.exit(3)"), "its thread ended with code 3"],
    ["by process.exit(0)", onCommand("process.exit(0)"), "its thread ended with code 0"],
    ["by an error", onCommand('throw new Error("out of luck")'), "out of luck"],
    ["by a rejection", onCommand('Promise.reject(new Error("nobody cares"))'), "nobody cares"],
    ["by throwing no error", onCommand("throw 7"), "7"],
    ["as it starts", 'throw new Error("no such module")', "no such module"],
  ])("%s ends the running call and all later ones with BackendError", async (_, script, reason) => {
    const engine = start(script)
    const loading = engine.load(LOAD)
    await expect(loading).rejects.toThrow(BackendError)
    await expect(loading).rejects.toThrow("engine: expected it to run on, got: ")
    await expect(loading).rejects.toThrow(reason)
    const later = textOf(engine.chat(asking("hello")))
    await expect(later).rejects.toThrow(BackendError)
    await expect(later).rejects.toThrow("engine: expected a live engine, got: ")
    await engine.close()
  })
})
