import { once } from "node:events"
import { createServer } from "node:http"
import { type AddressInfo, connect as connectPlain } from "node:net"
import { OpenAIRealtimeWebSocket } from "@openai/agents-realtime"
import OpenAI from "openai"
import { OpenAIRealtimeWS } from "openai/realtime/ws"
import { afterEach, expect, test } from "vitest"
import { WebSocket } from "ws"
import { parseServerEvent, type RealtimeServerEvent } from "../protocol/index.ts"
import { Admission } from "./admission.ts"
import { ClientSecrets } from "./client-secrets.ts"
import { WORDS } from "./fake-call.test-util.ts"
import { fakeEngine } from "./fake-engine.test-util.ts"
import { attachRealtime, type RealtimeOptions } from "./realtime-socket.ts"

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function serve(options: Partial<RealtimeOptions> = {}) {
  const server = createServer()
  const realtime = attachRealtime(server, {
    engine: fakeEngine(),
    model: "m",
    secrets: new ClientSecrets(),
    admission: new Admission({ maxRunning: 64, maxWaiting: 0 }),
    decodeImage: () => Promise.reject(new Error("no pictures here")),
    ...options,
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  closers.push(async () => {
    await realtime.close(200)
    server.close()
  })
  return { realtime, url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/v1/realtime?model=m` }
}

function connect(url: string, headers: Record<string, string> = {}, protocols: string[] = []) {
  const socket = new WebSocket(url, protocols, { headers })
  const events: RealtimeServerEvent[] = []
  socket.on("message", (data: Buffer) => events.push(parseServerEvent(data.toString())!))
  socket.on("error", () => undefined)
  const seen = async (type: string, times = 1) => {
    const deadline = Date.now() + 5000
    for (;;) {
      const found = events.filter((event) => event.type === type)
      if (found.length >= times) return found[times - 1] as never as Record<string, never>
      if (Date.now() > deadline) throw new Error(`no ${type} among ${events.map((event) => event.type).join(" ")}`)
      await new Promise((done) => setTimeout(done, 2))
    }
  }
  return { socket, events, seen, send: (event: object) => socket.send(JSON.stringify(event)) }
}

const sound = (value: number, ms = 100) => Buffer.from(new Int16Array(24 * ms).fill(value).buffer).toString("base64")
const append = (value: number, ms?: number) => ({ type: "input_audio_buffer.append", audio: sound(value, ms) })

test("a spoken turn has its events in order", async () => {
  const { url } = await serve()
  const { send, seen, events } = connect(url)
  await seen("session.created")
  send(append(9000))
  send(append(0))
  await seen("response.done")
  const once = events
    .map(({ type }) => type)
    .filter((type, index, all) => all[index - 1] !== type && !type.endsWith(".delta"))
  expect(once).toEqual([
    "session.created",
    "conversation.created",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
  ])
  const bytes = events.reduce(
    (sum, e) => (e.type === "response.output_audio.delta" ? sum + atob(e.delta).length : sum),
    0,
  )
  expect(bytes).toBe(WORDS.length * 4800 * 2)
})

test("speech during an answer cancels it once; truncating reaches the engine at the played sample", async () => {
  const slow = fakeEngine(60)
  const { url } = await serve({ engine: slow })
  const { send, seen, events } = connect(url)
  await seen("session.created")
  send(append(9000))
  send(append(0))
  const delta = await seen("response.output_audio.delta")
  send(append(9000))
  const done = await seen("response.done")
  expect(done.response).toMatchObject({ status: "cancelled", status_details: { reason: "turn_detected" } })
  send({ type: "conversation.item.truncate", item_id: delta.item_id, content_index: 0, audio_end_ms: 150 })
  await seen("conversation.item.truncated")
  expect(slow.log).toContain("interrupt 150")
  send({
    type: "conversation.item.truncate",
    item_id: delta.item_id,
    content_index: 0,
    audio_end_ms: 9000,
    event_id: "t",
  })
  const refused = await seen("error")
  expect(refused.error).toMatchObject({ code: "invalid_value", event_id: "t" })
  expect(events.filter(({ type }) => type === "response.done")).toHaveLength(1)
})

test("push-to-talk, text answers, and the errors that stock clients know", async () => {
  const { url } = await serve()
  const { send, seen, events } = connect(url)
  await seen("session.created")
  send({
    type: "session.update",
    session: { type: "realtime", output_modalities: ["text"], audio: { input: { turn_detection: null } } },
  })
  await seen("session.updated")
  send({ type: "input_audio_buffer.commit", event_id: "c" })
  send({ type: "response.cancel", event_id: "x" })
  send({ type: "nonsense", event_id: "n" })
  send({ type: "input_audio_buffer.append", audio: "AAA=", event_id: "ok" })
  send({ type: "input_audio_buffer.append", audio: "AA==", event_id: "odd" })
  await seen("error", 4)
  const errors = events.flatMap((event) =>
    event.type === "error" ? [`${event.error.event_id} ${event.error.code}`] : [],
  )
  expect(errors).toEqual([
    "c input_audio_buffer_commit_empty",
    "x response_cancel_not_active",
    "n invalid_event",
    "odd invalid_value",
  ])
  send(append(9000, 200))
  send({ type: "input_audio_buffer.commit" })
  send({ type: "response.create" })
  send({ type: "response.create", event_id: "twice" })
  const again = await seen("error", 5)
  expect(again.error).toMatchObject({ code: "conversation_already_has_active_response", event_id: "twice" })
  expect(await seen("response.output_text.done")).toMatchObject({ text: WORDS.join("") })
  expect((await seen("response.done")).response).toMatchObject({ status: "completed", usage: { total_tokens: 11 } })
})

test("out-of-band answers leave the conversation as it is", async () => {
  const { url } = await serve()
  const { send, seen, events } = connect(url)
  await seen("session.created")
  send({ type: "response.create", response: { conversation: "none", input: [], metadata: { topic: "a" } } })
  expect((await seen("response.done")).response).toMatchObject({ conversation_id: null, metadata: { topic: "a" } })
  expect(events.some(({ type }) => type.startsWith("conversation.item"))).toBe(false)
})

test("keys, secrets and origins decide who may connect", async () => {
  const secrets = new ClientSecrets()
  const { url } = await serve({ keys: ["right"], secrets })
  const status = async (headers: Record<string, string>, protocols: string[] = []) => {
    const { socket } = connect(url, headers, protocols)
    const [result] = await Promise.race([
      once(socket, "open").then(() => [101]),
      once(socket, "unexpected-response").then(([, response]) => [response.statusCode as number]),
    ])
    socket.terminate()
    return result
  }
  expect(await status({})).toBe(401)
  expect(await status({ authorization: "Bearer wrong" })).toBe(401)
  expect(await status({ authorization: "Bearer right" })).toBe(101)
  expect(await status({ authorization: "Bearer right", origin: "https://elsewhere.example" })).toBe(403)
  expect(await status({}, ["realtime", "openai-insecure-api-key.right"])).toBe(101)
  const { value } = secrets.create({ session: { type: "realtime" } })
  expect(await status({}, ["realtime", `openai-insecure-api-key.${value}`])).toBe(101)
  expect(await status({}, ["realtime", "openai-insecure-api-key.ek_unknown"])).toBe(401)
})

test("binary and oversized frames close the socket with their codes", async () => {
  const { url, realtime } = await serve({ maxFrameBytes: 1000 })
  const closed = async (data: Buffer | string) => {
    const { socket, seen } = connect(url)
    await seen("session.created")
    socket.send(data)
    return (await once(socket, "close"))[0] as number
  }
  expect(await closed(Buffer.from([1, 2, 3]))).toBe(1003)
  expect(await closed("x".repeat(2000))).toBe(1009)
  await expect.poll(() => realtime.sessions).toBe(0)
})

test("the stock openai client hears an answer", async () => {
  const { url } = await serve({ keys: ["right"] })
  const port = Number(new URL(url).port)
  const client = new OpenAI({ apiKey: "right", baseURL: "http://127.0.0.1/v1" })
  // The client insists on wss: its URL stays so, the connection below it is plain.
  const createConnection = () => connectPlain(port, "127.0.0.1")
  const realtime = new OpenAIRealtimeWS({ model: "m", options: { createConnection } }, client)
  const failed: unknown[] = []
  realtime.on("error", (error) => failed.push(error))
  await new Promise((done) => realtime.on("session.created", done))
  realtime.send({
    type: "conversation.item.create",
    item: { type: "message", role: "user", content: [{ type: "input_text", text: "Hi" }] },
  })
  realtime.send({ type: "response.create", response: { output_modalities: ["text"] } })
  const done = await new Promise<{ text: string }>((resolve) => realtime.on("response.output_text.done", resolve))
  expect(done.text).toBe(WORDS.join(""))
  expect(failed).toEqual([])
  realtime.close()
})

test("the stock agents transport connects, configures and speaks", async () => {
  const { url } = await serve({ keys: ["right"] })
  const transport = new OpenAIRealtimeWebSocket({ useInsecureApiKey: true })
  const failed: unknown[] = []
  let bytes = 0
  transport.on("error", (error) => failed.push(error))
  transport.on("audio", ({ data }) => {
    bytes += data.byteLength
  })
  const ended = new Promise((done) => transport.on("turn_done", done))
  await transport.connect({
    apiKey: "right",
    url,
    initialSessionConfig: { instructions: "Be brief.", voice: "default" },
  })
  transport.sendMessage("Hi", {})
  await ended
  expect(bytes).toBe(WORDS.length * 4800 * 2)
  expect(failed).toEqual([])
  transport.close()
})

test("garbage and silent connections are bounded and leave others unharmed", async () => {
  const { url, realtime } = await serve({ admission: new Admission({ maxRunning: 20, maxWaiting: 0 }), pingMs: 100 })
  const good = connect(url)
  await good.seen("session.created")
  let refused = 0
  for (let batch = 0; batch < 20; batch++) {
    const sockets = Array.from({ length: 50 }, () => connect(url).socket)
    await Promise.all(
      sockets.map(async (socket, index) => {
        const opened = await Promise.race([
          once(socket, "open").then(() => true),
          once(socket, "unexpected-response").then(() => false),
        ])
        if (!opened) refused++
        else if (index % 3 === 0) socket.send("{garbage")
        else if (index % 3 === 1) socket.send(Buffer.from([0, 255]))
      }),
    )
    expect(realtime.sessions).toBeLessThanOrEqual(20)
    for (const socket of sockets) socket.terminate()
    await expect.poll(() => realtime.sessions).toBe(1)
  }
  expect(refused).toBeGreaterThanOrEqual(20)
  good.send(append(9000))
  good.send(append(0))
  expect((await good.seen("response.done")).response).toMatchObject({ status: "completed" })
})
