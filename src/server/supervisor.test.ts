/** @file The engine's process is killed and comes back; requests of that moment fail with an error, later ones are served. */
import { setTimeout as sleep } from "node:timers/promises"
import OpenAI from "openai"
import { expect, test } from "vitest"
import { CHECKPOINT } from "../convert/folders.test-util.node.ts"
import { startEngineProcess } from "../engine/index.node.ts"
import { user } from "./http.test-util.ts"
import { createLogger } from "./log.ts"
import { createServer } from "./server.ts"
import { Supervisor } from "./supervisor.ts"

const load = { model: CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" } as const

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 5000 && !holds(); i++) await sleep(10)
  expect(holds()).toBe(true)
}

test("kill -9 of the engine: an error for running requests, then service again", async () => {
  const lines: string[] = []
  const log = createLogger((line) => void lines.push(line))
  await using source = await Supervisor.start({ start: () => startEngineProcess(), load, log, backoffMs: 50 })
  const server = await createServer({ source, model: "tiny", log })
  try {
    const url = await server.listen(0, "127.0.0.1")
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 })
    const ask = () => client.chat.completions.create({ model: "tiny", messages: user("hi"), max_tokens: 4 })
    expect((await ask()).usage!.completion_tokens).toBeGreaterThan(0)

    const stream = await client.chat.completions.create({ model: "tiny", messages: user("hi"), stream: true })
    const reading = (async () => {
      for await (const _ of stream) if (source.starts === 1 && source.ready) process.kill(source.pid!, "SIGKILL")
    })()
    await expect(reading).rejects.toThrow("engine: expected a running engine, got one that stopped")
    await until(() => !source.ready || source.starts === 2)
    await until(() => source.ready && source.starts === 2)
    expect((await ask()).usage!.completion_tokens).toBeGreaterThan(0)
    expect(await (await fetch(`${url}/ready`)).json()).toMatchObject({ ready: true, running: 0, queue: 0 })
    expect(lines.some((line) => line.includes("its process was ended by SIGKILL"))).toBe(true)
    expect(await (await fetch(`${url}/metrics`)).text()).toContain("omni_engine_starts 2")
  } finally {
    await server.close(500)
  }
})

test("while the engine is away, requests are told to come again", async () => {
  let starts = 0
  const dead = new URL("./supervisor.test-fixture.mjs", import.meta.url)
  const lines: string[] = []
  const log = createLogger((line) => void lines.push(line))
  const start = () => startEngineProcess(starts++ === 0 ? undefined : dead)
  await using source = await Supervisor.start({ start, load, log, backoffMs: 20 })
  const server = await createServer({ source, model: "tiny", log })
  try {
    const url = await server.listen(0, "127.0.0.1")
    process.kill(source.pid!, "SIGKILL")
    await until(() => !source.ready)
    const body = JSON.stringify({ model: "tiny", messages: user("hi") })
    const headers = { "content-type": "application/json" }
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body, headers })
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "2"])
    expect((await fetch(`${url}/ready`)).status).toBe(503)
    expect((await fetch(`${url}/health`)).status).toBe(200)
    await until(() => source.starts >= 3) // it goes on trying, with longer pauses
    const pauses = lines.flatMap((line) => (JSON.parse(line) as { restartInMs?: number }).restartInMs ?? [])
    expect(pauses.slice(0, 2)).toEqual([20, 40])
  } finally {
    await server.close(500)
  }
})

test("an engine that hangs is killed: an error for running requests, then service again", async () => {
  const lines: string[] = []
  const log = createLogger((line) => void lines.push(line))
  const hanging = new URL("./supervisor.test-hanging.mjs", import.meta.url)
  let starts = 0
  const start = () => startEngineProcess(starts++ === 0 ? hanging : undefined)
  // The time of silence is the test's own: no slow machine makes an engine that works look as if it hung.
  const clock = { pauses: 0 }
  const pause = async (_: number, ended: AbortSignal) => {
    while (clock.pauses <= 0 && !ended.aborted) await sleep(5)
    clock.pauses--
  }
  await using source = await Supervisor.start({ ...{ start, load, log, pause }, backoffMs: 50, silenceMs: 90_000 })
  const server = await createServer({ source, model: "tiny", log })
  try {
    const url = await server.listen(0, "127.0.0.1")
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 })
    const ask = () => client.chat.completions.create({ model: "tiny", messages: user("hi"), max_tokens: 4 })
    // It hangs from here on: commands reach it in their order.
    const failing = expect(source.engine.chat({ messages: user("hi") }).next()).rejects.toThrow(
      "engine: expected it to run on, got: it gave no sign of life for 90 s",
    )
    const refused = expect(ask()).rejects.toThrow(/engine: expected a running engine, got one that (stopped|is being)/)
    await until(() => server.context.admission.running === 1)
    expect(await (await fetch(`${url}/metrics`)).text()).toContain("omni_engine_hangs 0") // without the engine's levels
    clock.pauses = 13 // one behind the answer that loading gave, then twelve without any
    await failing
    await refused
    await until(() => source.ready && source.starts === 2)
    expect((await ask()).usage!.completion_tokens).toBeGreaterThan(0)
    expect(await (await fetch(`${url}/metrics`)).text()).toContain("omni_engine_hangs 1")
    const logged = lines.map((line) => JSON.parse(line) as { readonly message: string })
    expect(logged).toContainEqual(expect.objectContaining({ message: "the engine hangs", silentMs: 90_000, hangs: 1 }))
    const reason = "it gave no sign of life for 90 s"
    expect(logged).toContainEqual(expect.objectContaining({ message: "the engine ended", reason }))
  } finally {
    await server.close(500)
  }
})

test("one that hangs while it loads is an error at the start", async () => {
  const hanging = new URL("./supervisor.test-hanging.mjs", import.meta.url)
  const failing = Supervisor.start({
    start: () => startEngineProcess(hanging),
    load: { ...load, model: "hang" },
    log: () => undefined,
    silenceMs: 1,
  })
  await expect(failing).rejects.toThrow("engine: expected it to run on, got: it gave no sign of life for 0.001 s")
})

test("a model that never loads is an error at the start", async () => {
  const start = () => startEngineProcess()
  const failing = Supervisor.start({ start, load: { ...load, model: "/nowhere" }, log: () => undefined })
  await expect(failing).rejects.toThrow("/nowhere")
})
