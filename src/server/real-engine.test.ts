/** @file The HTTP API with the real engine and the small model: what constrains, counts and ends answers reaches the sampler. */
import { readFileSync } from "node:fs"
import OpenAI, { toFile } from "openai"
import { afterAll, beforeAll, expect, test } from "vitest"
import { readWav } from "../audio/index.ts"
import { CHECKPOINT } from "../convert/folders.test-util.node.ts"
import { startEngineProcess } from "../engine/index.node.ts"
import { user } from "./http.test-util.ts"
import { createLogger } from "./log.ts"
import { createServer, type OmniServer } from "./server.ts"
import { Supervisor } from "./supervisor.ts"

const SPEECH = new URL("../../test/fixtures/tiny-a/assets/audio/speech_en.wav", import.meta.url)
const load = { model: CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" } as const
const model = "tiny"

let source: Supervisor
let server: OmniServer
let client: OpenAI
beforeAll(async () => {
  const log = createLogger(() => undefined)
  source = await Supervisor.start({ start: () => startEngineProcess(), load, log })
  server = await createServer({ source, model, log })
  client = new OpenAI({ baseURL: `${await server.listen(0, "127.0.0.1")}/v1`, apiKey: "none", maxRetries: 0 })
}, 60_000)
afterAll(async () => {
  await server.close(500)
  await source[Symbol.asyncDispose]()
})

test("an answer keeps to a JSON Schema", async () => {
  const schema = {
    ...{ type: "object", additionalProperties: false, required: ["sunny", "wind"] },
    properties: { sunny: { type: "boolean" }, wind: { enum: ["north", "south"] } },
  }
  for (const seed of [1, 2, 3]) {
    const answer = await client.chat.completions.create({
      ...{ model, messages: user("weather?"), seed, max_tokens: 60 },
      response_format: { type: "json_schema", json_schema: { name: "weather", strict: true, schema } },
    })
    const { sunny, wind } = JSON.parse(answer.choices[0]!.message.content!) as Record<string, unknown>
    expect([typeof sunny, ["north", "south"].includes(wind as string)]).toEqual(["boolean", true])
  }
}, 60_000)

test("a tool that must be called is called, whole and in pieces alike", async () => {
  const parameters = {
    type: "object",
    additionalProperties: false,
    required: ["far"],
    properties: { far: { type: "boolean" } },
  }
  const body = {
    ...{ model, messages: user("look"), seed: 4, max_tokens: 80, tool_choice: "required" as const },
    tools: [{ type: "function" as const, function: { name: "look", parameters } }],
  }
  const [choice] = (await client.chat.completions.create(body)).choices
  const calls = choice!.message.tool_calls as { function: { name: string; arguments: string } }[]
  expect(calls.length).toBeGreaterThan(0)
  for (const { function: called } of calls) {
    expect(called.name).toBe("look")
    expect(JSON.parse(called.arguments)).toEqual({ far: expect.any(Boolean) })
  }
  const streamed = (await client.chat.completions.stream(body).finalChatCompletion()).choices[0]!.message.tool_calls
  expect(streamed!.map((call) => (call as (typeof calls)[0]).function)).toMatchObject(
    calls.map((call) => call.function),
  )
  const results = choice!.message.tool_calls!.map(({ id }) => ({
    role: "tool" as const,
    tool_call_id: id,
    content: "a tree",
  }))
  const after = await client.chat.completions.create({
    ...{ ...body, tool_choice: "none" as const, max_tokens: 5 },
    messages: [...body.messages, choice!.message, ...results],
  })
  expect(after.choices[0]!.message.tool_calls).toBeUndefined()
}, 60_000)

test("log-probabilities, stops, seeds and lengths", async () => {
  const ask = (more: object) =>
    client.chat.completions.create({ model, messages: user("hi"), max_tokens: 8, seed: 3, ...more })
  const whole = (await ask({ logprobs: true, top_logprobs: 2 })).choices[0]!
  const content = whole.message.content!
  const tokens = whole.logprobs!.content!
  expect(Buffer.concat(tokens.map(({ bytes }) => Buffer.from(bytes!))).toString("utf8")).toContain(content)
  for (const { logprob, top_logprobs: top } of tokens) {
    expect(logprob).toBeLessThanOrEqual(0)
    expect(top.length).toBe(2)
    expect(top[0]!.logprob).toBeGreaterThanOrEqual(top[1]!.logprob)
  }
  expect((await ask({})).choices[0]!.message.content).toBe(content)
  const middle = content.slice(Math.floor(content.length / 2), Math.floor(content.length / 2) + 2)
  const stopped = (await ask({ stop: [middle] })).choices[0]!
  expect(stopped.finish_reason).toBe("stop")
  expect(stopped.message.content).toBe(content.slice(0, content.indexOf(middle)))
  const short = await ask({ max_tokens: 2 })
  expect([short.choices[0]!.finish_reason, short.usage!.completion_tokens]).toEqual(["length", 2])
}, 60_000)

test("sound is counted, heard in every format of transcripts, and read aloud", async () => {
  const file = async () => toFile(readFileSync(SPEECH), "talk.wav")
  const verbose = await client.audio.transcriptions.create({
    model,
    file: await file(),
    response_format: "verbose_json",
  })
  expect(verbose.duration).toBeCloseTo(3.37, 1)
  expect(verbose.segments).toMatchObject([{ id: 0, start: 0, text: verbose.text }])
  const vtt = await client.audio.transcriptions.create({ model, file: await file(), response_format: "vtt" })
  expect(vtt).toMatch(/^WEBVTT\n\n00:00:00\.000 --> 00:00:03\.\d{3}\n/)
  const data = readFileSync(SPEECH).toString("base64")
  const { usage } = await client.chat.completions.create({
    ...{ model, max_tokens: 2 },
    messages: [{ role: "user", content: [{ type: "input_audio", input_audio: { data, format: "wav" } }] }],
  })
  // 25 positions per second of sound.
  expect(Math.abs(usage!.prompt_tokens_details!.audio_tokens! - 84)).toBeLessThan(4)
  const spoken = await client.audio.speech.create({ model, voice: "alloy", input: "Hi.", response_format: "wav" })
  expect(readWav(new Uint8Array(await spoken.arrayBuffer())).samples.length).toBeGreaterThan(2400)
}, 60_000)
