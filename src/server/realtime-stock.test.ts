/** @file Realtime with clients as they are sold: `openai` over TLS and `@openai/agents`, unmodified, and what they read of our events. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime"
import OpenAI from "openai"
import { OpenAIRealtimeWS } from "openai/realtime/ws"
import { afterEach, describe, expect, test } from "vitest"
import { z } from "zod"
import { WORD_MS, WORDS } from "./fake-call.test-util.ts"
import { KEY, serve } from "./http.test-util.ts"
import { append, LOUD } from "./realtime.test-util.ts"
import { localCertificate } from "./tls.ts"

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})
const later = <T>(thing: T, close: (thing: T) => unknown): T => {
  closers.push(() => close(thing))
  return thing
}

const ANSWER = WORDS.join("")

describe("the openai package over TLS", () => {
  async function connect() {
    const folder = later(mkdtempSync(join(tmpdir(), "omni-stock-")), (path) => rmSync(path, { recursive: true }))
    const tls = await localCertificate(folder, ["localhost", "127.0.0.1"])
    const host = later(await serve({ tls }), (one) => one[Symbol.asyncDispose]())
    const client = new OpenAI({ apiKey: KEY, baseURL: `${host.url}/v1` })
    const realtime = later(new OpenAIRealtimeWS({ model: "fake-o", options: { ca: tls.cert } }, client), (one) =>
      one.close(),
    )
    const failed: unknown[] = []
    realtime.on("error", (error) => failed.push(error))
    const next = <T extends Parameters<typeof realtime.on>[0]>(type: T) =>
      new Promise<never>((resolve) => realtime.once(type, ((event: never) => resolve(event)) as never))
    await next("session.created")
    return { host, realtime, failed, next: next as (type: string) => Promise<Record<string, never>> }
  }

  test("speaks: sound in, a turn found, sound and words out", async () => {
    const { realtime, failed, next, host } = await connect()
    let bytes = 0
    realtime.on("response.output_audio.delta", ({ delta }) => {
      bytes += Buffer.from(delta, "base64").length
    })
    realtime.send({ type: "session.update", session: { type: "realtime", instructions: "Be brief." } })
    expect(await next("session.updated")).toMatchObject({ session: { instructions: "Be brief." } })
    const transcript = next("response.output_audio_transcript.done")
    const done = next("response.done")
    realtime.send(append(LOUD) as { type: "input_audio_buffer.append"; audio: string })
    realtime.send(append(0) as { type: "input_audio_buffer.append"; audio: string })
    expect(await transcript).toMatchObject({ transcript: ANSWER })
    expect(await done).toMatchObject({ response: { status: "completed" } })
    expect(bytes).toBe(WORDS.length * WORD_MS * 48)
    expect(host.engine.calls[0]!.options.instructions).toBe("Be brief.")
    expect(failed).toEqual([])
  })

  test("asks in words, by hand and with tools, and hears of its mistakes", async () => {
    const { realtime, failed, next } = await connect()
    const parameters = { type: "object", properties: { city: { type: "string" } } }
    realtime.send({
      type: "session.update",
      session: {
        ...{ type: "realtime", output_modalities: ["text"], audio: { input: { turn_detection: null } } },
        tools: [{ type: "function", name: "weather", parameters }],
      },
    })
    const ask = (text: string) => {
      const content = [{ type: "input_text" as const, text }]
      realtime.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } })
      realtime.send({ type: "response.create" })
    }
    const said = next("response.output_text.done")
    const first = next("response.done")
    ask("hello")
    expect(await said).toMatchObject({ text: ANSWER })
    await first
    const called = next("response.function_call_arguments.done")
    const second = next("response.done")
    ask("what weather?")
    const { call_id, arguments: given } = (await called) as Record<string, string>
    expect(given).toBe('{"city":"Paris"}')
    await second
    realtime.send({
      type: "conversation.item.create",
      item: { type: "function_call_output", call_id: call_id!, output: "sun" },
    })
    const answered = next("response.output_text.done")
    const third = next("response.done")
    realtime.send({ type: "response.create" })
    expect(await answered).toMatchObject({ text: ANSWER })
    expect(failed).toEqual([])
    await third
    realtime.send({ type: "response.cancel" })
    await expect.poll(() => failed.length).toBe(1)
  })
})

describe("@openai/agents", () => {
  async function host() {
    const one = later(await serve(), (server) => server[Symbol.asyncDispose]())
    return { ...one, url: `${one.url.replace("http", "ws")}/v1/realtime?model=fake-o` }
  }

  test("the transport connects with a client secret, speaks, and interrupts at the played sample", async () => {
    const { url, post, engine } = await host()
    engine.stepMs = 40
    const secret = (await (await post("/v1/realtime/client_secrets", { session: { type: "realtime" } })).json()) as {
      value: string
    }
    const transport = later(new OpenAIRealtimeWebSocket(), (one) => one.close())
    const failed: unknown[] = []
    transport.on("error", (error) => failed.push(error))
    let bytes = 0
    transport.on("audio", ({ data }) => {
      bytes += data.byteLength
    })
    const done = new Promise((resolve) => transport.on("turn_done", resolve))
    await transport.connect({ apiKey: secret.value, url, initialSessionConfig: { instructions: "Be brief." } })
    transport.sendAudio(new Int16Array(2400).fill(LOUD).buffer)
    transport.sendAudio(new Int16Array(2400).buffer)
    await expect.poll(() => bytes).toBeGreaterThan(0)
    transport.interrupt()
    await done
    await expect.poll(() => engine.log.some((line) => /^interrupt \d+/.test(line))).toBe(true)
    expect(failed).toEqual([])
    expect(engine.calls[0]!.options.instructions).toContain("Be brief.")
  })

  test("a session calls two tools at once, and keeps the history that we tell", async () => {
    const { url, engine } = await host()
    const asked: string[] = []
    const weather = tool({
      name: "weather",
      description: "The weather of a city.",
      parameters: z.object({ city: z.string() }),
      execute: async ({ city }) => {
        asked.push(city)
        return `sunny in ${city}`
      },
    })
    const agent = new RealtimeAgent({ name: "Host", instructions: "Be brief.", tools: [weather] })
    const session = later(new RealtimeSession(agent, { transport: "websocket", model: "fake-o" }), (one) => one.close())
    const failed: unknown[] = []
    session.on("error", (error) => failed.push(error))
    await session.connect({ apiKey: KEY, url })
    session.sendMessage("two weather reports")
    await expect.poll(() => asked).toEqual(["Paris", "Rome"])
    const words = () => JSON.stringify(session.history)
    await expect.poll(words).toContain(ANSWER)
    const context = engine.calls.at(-1)!.context
    expect(context.filter((line) => line.startsWith("tool: "))).toEqual(["tool: sunny in Paris", "tool: sunny in Rome"])
    expect(words()).toContain("two weather reports")
    expect(failed).toEqual([])
  })

  test("a spoken turn is in the history, with its transcript", async () => {
    const { url } = await host()
    const agent = new RealtimeAgent({ name: "Host", instructions: "Be brief." })
    const config = { audio: { input: { transcription: { model: "gpt-4o-mini-transcribe" } } } }
    const session = later(new RealtimeSession(agent, { transport: "websocket", model: "fake-o", config }), (one) =>
      one.close(),
    )
    await session.connect({ apiKey: KEY, url })
    session.sendAudio(new Int16Array(2400).fill(LOUD).buffer)
    session.sendAudio(new Int16Array(2400).buffer)
    const words = () => JSON.stringify(session.history)
    await expect.poll(words).toContain(ANSWER)
    await expect.poll(words).toContain("transcribe the content")
  })
})
