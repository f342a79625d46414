/** @file Realtime with the real engine in its process, the small model and a recorded voice: turns, barge-in, an engine that is killed. */
import { readFileSync } from "node:fs"
import { afterAll, beforeAll, expect, test } from "vitest"
import { encodePcm, readWavMono, resample } from "../audio/index.ts"
import { CHECKPOINT } from "../convert/folders.test-util.node.ts"
import { startEngineProcess } from "../engine/index.node.ts"
import { createLogger } from "./log.ts"
import { connect, RESPOND, said, type TestClient } from "./realtime.test-util.ts"
import { createServer, type OmniServer } from "./server.ts"
import { Supervisor } from "./supervisor.ts"

const SPEECH = new URL("../../test/fixtures/tiny-a/assets/audio/speech_en.wav", import.meta.url)
const load = { model: CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" } as const

let source: Supervisor
let server: OmniServer
let address: string
const lines: string[] = []
beforeAll(async () => {
  const log = createLogger((line) => void lines.push(line))
  source = await Supervisor.start({ start: () => startEngineProcess(), load, log, backoffMs: 50 })
  server = await createServer({ source, model: "tiny", log })
  address = `${(await server.listen(0, "127.0.0.1")).replace("http", "ws")}/v1/realtime`
}, 60_000)
afterAll(async () => {
  await server.close(500)
  await source[Symbol.asyncDispose]()
})

const recording = readWavMono(readFileSync(SPEECH), "speech_en.wav")
const sentence = resample(recording.pcm, recording.sampleRateHz, 24_000)
const silence = (seconds: number) => new Float32Array(seconds * 24_000)

/** Sends sound as a microphone would, 100 ms at a time, as fast as it goes. */
function speak(client: TestClient, ...sounds: Float32Array[]): void {
  for (const pcm of sounds) {
    for (let at = 0; at < pcm.length; at += 2400) {
      const audio = Buffer.from(encodePcm(pcm.slice(at, at + 2400), "s16")).toString("base64")
      client.send({ type: "input_audio_buffer.append", audio })
    }
  }
}

/** Waits until the engine has read what was sent. */
async function read(client: TestClient): Promise<void> {
  const updates = client.of("session.updated").length
  client.send({ type: "session.update", session: { type: "realtime" } })
  await client.seen("session.updated", updates + 1)
  const metrics = address.replace("ws", "http").replace("/v1/realtime", "/metrics")
  await expect
    .poll(async () => await (await fetch(metrics)).text(), { timeout: 50_000 })
    .toMatch(/^omni_realtime_behind_seconds 0$/m)
}

async function dial(session: object = {}): Promise<TestClient> {
  const client = connect(address)
  await client.seen("session.created")
  client.send({ type: "session.update", session: { type: "realtime", ...session } })
  await client.seen("session.updated")
  return client
}

test("a recorded sentence is a turn, where it was said, and is answered with sound", async () => {
  const client = await dial()
  speak(client, silence(1), sentence)
  await read(client)
  speak(client, silence(1))
  const started = await client.seen("input_audio_buffer.speech_started")
  const stopped = await client.seen("input_audio_buffer.speech_stopped")
  // The sentence lies between 1.08 and 4.13 s; 300 ms of padding before it.
  expect(Math.abs(started.audio_start_ms - 780)).toBeLessThan(150)
  expect(Math.abs(stopped.audio_end_ms - 4130)).toBeLessThan(200)
  const { response } = await client.seen("response.done")
  expect(response.status).toMatch(/completed|incomplete/)
  expect(client.samples).toBeGreaterThan(2400)
  const details = response.usage!.input_token_details
  // 25 positions per second of sound; all but the end was read while it was spoken.
  expect(details.audio_tokens).toBeGreaterThan(75)
  expect(details.cached_tokens).toBeGreaterThan(50)
  expect(response.usage!.output_token_details.audio_tokens).toBeGreaterThan(0)
  expect(client.errors).toEqual([])
  client.socket.close()
}, 60_000)

test("push-to-talk is read while it is spoken; what is cleared is not in the context", async () => {
  const client = await dial({ output_modalities: ["text"], audio: { input: { turn_detection: null } } })
  speak(client, sentence, silence(1), sentence)
  client.send({ type: "input_audio_buffer.clear" })
  speak(client, sentence.slice(0, 2.5 * 24_000))
  await read(client)
  client.send({ type: "input_audio_buffer.commit" }, RESPOND)
  const { response } = await client.seen("response.done")
  const details = response.usage!.input_token_details
  // 2.5 s at 25 positions per second; two whole seconds were read before the commit.
  expect(Math.abs(details.audio_tokens - 62)).toBeLessThan(4)
  expect(details.cached_tokens).toBeGreaterThanOrEqual(50)
  expect(client.errors).toEqual([])
  expect(client.of("omni.context.changed")).toEqual([])
  client.socket.close()
}, 60_000)

test("speech over an answer stops it; cut to what was heard, the call goes on", async () => {
  const client = await dial()
  // Random weights end answers as they please: one that is long enough to be interrupted comes soon.
  for (let turn = 1; ; turn++) {
    speak(client, sentence, silence(1))
    await client.seen("response.output_audio.delta")
    speak(client, sentence, silence(1))
    const { response } = await client.seen("response.done", turn)
    if (response.status_details?.reason === "turn_detected") break
    expect(turn).toBeLessThan(8)
    await client.seen("response.done", ++turn)
  }
  const { item_id } = client.of("response.output_audio.delta").at(-1)!
  const cancelled = client.of("response.done").at(-1)!.response
  if (cancelled.output.length > 0) {
    const id = cancelled.output[0]!.id!
    client.send({ type: "conversation.item.truncate", item_id: id, content_index: 0, audio_end_ms: 100 })
    expect(await client.seen("conversation.item.truncated")).toMatchObject({ item_id: id, audio_end_ms: 100 })
  }
  expect(item_id).toMatch(/^item_/)
  const before = client.of("response.done").length
  const next = await client.seen("response.done", before + 1)
  expect(next.response.status).toMatch(/completed|incomplete/)
  expect(client.errors).toEqual([])
  // It is the same call all the time, and remembers.
  expect(client.of("omni.context.changed")).toEqual([])
  client.socket.close()
}, 60_000)

test("a message amid a sentence leaves it one turn, all of which is heard", async () => {
  const client = await dial({ output_modalities: ["text"] })
  speak(client, silence(1), sentence.slice(0, 2.5 * 24_000))
  const { item_id } = await client.seen("input_audio_buffer.speech_started")
  await read(client)
  client.send(said("by the way", "words"))
  speak(client, sentence.slice(2.5 * 24_000), silence(1))
  const { response } = await client.seen("response.done")
  expect(response.status).toMatch(/completed|incomplete/)
  expect(response.usage!.input_token_details.audio_tokens).toBeGreaterThan(75)
  expect(response.usage!.input_token_details.audio_tokens).toBeLessThan(100)
  const items = client.of("conversation.item.added").map(({ item }) => item.id)
  expect(items.slice(0, 2)).toEqual(["words", item_id])
  expect(client.of("input_audio_buffer.speech_started")).toHaveLength(1)
  expect(Math.abs(client.of("input_audio_buffer.speech_stopped")[0]!.audio_end_ms - 4130)).toBeLessThan(200)
  expect(client.errors).toEqual([])
  client.socket.close()
}, 60_000)

test("kill -9 of the engine amid a sentence: all of it is heard, as one turn", async () => {
  const client = await dial({ output_modalities: ["text"] })
  speak(client, silence(1), sentence.slice(0, 2 * 24_000))
  const { item_id, audio_start_ms } = await client.seen("input_audio_buffer.speech_started")
  await read(client)
  const { starts } = source
  process.kill(source.pid!, "SIGKILL")
  await expect.poll(() => source.ready && source.starts > starts, { timeout: 30_000 }).toBe(true)
  speak(client, sentence.slice(2 * 24_000), silence(1))
  const { response } = await client.seen("response.done")
  expect(response.status).toMatch(/completed|incomplete/)
  // As without a kill: 25 positions per second of sound, where it was said.
  expect(response.usage!.input_token_details.audio_tokens).toBeGreaterThan(75)
  expect(client.of("input_audio_buffer.speech_started")).toHaveLength(1)
  expect(Math.abs(audio_start_ms - 780)).toBeLessThan(150)
  const [stopped] = client.of("input_audio_buffer.speech_stopped")
  expect(stopped).toMatchObject({ item_id })
  expect(Math.abs(stopped!.audio_end_ms - 4130)).toBeLessThan(200)
  client.socket.close()
}, 120_000)

test("kill -9 of the engine: an error, then the same call goes on from where it was", async () => {
  const client = await dial()
  client.send(said("hello"), RESPOND)
  await client.seen("response.done")
  // Its state is saved behind the answer, and before sound that comes then.
  speak(client, silence(0.1))
  await read(client)
  // While a long text is read: it is read again by the next engine, and answered.
  client.send(said("tell me more, ".repeat(300)), RESPOND)
  await client.seen("response.created", 2)
  process.kill(source.pid!, "SIGKILL")
  const { response } = await client.seen("response.done", 2)
  expect(response.status).toMatch(/completed|incomplete/)
  expect(client.errors).toMatchObject([{ code: "engine_error" }])
  expect(client.of("omni.context.changed")).toMatchObject([{ reason: "restored" }])
  expect(lines.some((line) => line.includes("its process was ended by SIGKILL"))).toBe(true)

  // While it answers: that answer has failed, the next one is made. Random weights may end an answer before the kill.
  let asked = 2
  for (let attempt = 0; attempt < 6; attempt++) {
    const items = client.of("response.output_item.added").length
    client.send(said("and?"), RESPOND)
    asked++
    await client.seen("response.output_item.added", items + 1)
    process.kill(source.pid!, "SIGKILL")
    const { response: killed } = await client.seen("response.done", asked)
    if (killed.status !== "failed") continue
    expect(killed.status_details).toMatchObject({ error: { code: "engine_error" } })
    break
  }
  expect(client.of("response.done").at(-1)!.response.status).toBe("failed")
  client.send(said("still there?"), RESPOND)
  const again = await client.seen("response.done", asked + 1)
  expect(again.response.status).toMatch(/completed|incomplete/)
  client.socket.close()
}, 120_000)
