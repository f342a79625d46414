/** @file The stock `openai` package, unmodified, against our server: what it sends is understood, what it gets it can read. */

import { toFile } from "openai"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { decodeAudio, readWav } from "../audio/index.ts"
import { base64, pngUrl, serve, type TestServer, tone, user, wavFile } from "./http.test-util.ts"

let host: TestServer
beforeAll(async () => {
  host = await serve()
})
afterAll(() => host[Symbol.asyncDispose]())
beforeEach(() => void host.engine.questions.splice(0))

const model = "fake-o"
const weather = {
  type: "function" as const,
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}

describe("chat completions", () => {
  test("text, with its settings", async () => {
    const answer = await host.client.chat.completions.create({
      ...{ model, messages: [{ role: "developer", content: "Be short." }, ...user("hello")], seed: 5, stop: ["x"] },
      ...{ temperature: 0.2, top_p: 0.5, max_completion_tokens: 50 },
    })
    expect(answer).toMatchObject({
      object: "chat.completion",
      model,
      choices: [
        { index: 0, message: { role: "assistant", content: "You said: hello", refusal: null }, finish_reason: "stop" },
      ],
      usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 },
    })
    expect(answer.id).toMatch(/^chatcmpl-/)
    expect(host.engine.questions).toEqual([
      {
        messages: [
          { role: "system", content: "Be short." },
          { role: "user", content: "hello" },
        ],
        ...{ seed: 5, stop: ["x"], temperature: 0.2, topP: 0.5, maxNewTokens: 50 },
      },
    ])
  })

  test("several answers, each with its seed", async () => {
    const answer = await host.client.chat.completions.create({ model, messages: user("a"), n: 3, seed: 4 })
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2])
    expect(host.engine.questions.map(({ seed }) => seed)).toEqual([4, 5, 6])
    expect(answer.usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 9, total_tokens: 16 })
  })

  test("length and log-probabilities", async () => {
    const answer = await host.client.chat.completions.create({
      ...{ model, messages: user("a b c"), max_tokens: 2, logprobs: true, top_logprobs: 1 },
    })
    const [choice] = answer.choices
    expect(choice).toMatchObject({ finish_reason: "length", message: { content: "You said:" } })
    expect(choice!.logprobs!.content).toEqual(
      ["You", " said:"].map((token) => {
        const one = { token, bytes: [...Buffer.from(token)], logprob: -0.5 }
        return { ...one, top_logprobs: [one] }
      }),
    )
  })

  test("tokens are counted by kind", async () => {
    const { usage } = await host.client.chat.completions.create({ model, messages: user("hello") })
    expect(usage).toMatchObject({
      prompt_tokens_details: { text_tokens: 7, audio_tokens: 0, image_tokens: 0, cached_tokens: 0 },
      completion_tokens_details: { text_tokens: 3, audio_tokens: 0 },
    })
  })

  test("what is not known is ignored, and named in the log without its value", async () => {
    const more = { store: true, reasoning_effort: "high" as const, prompt_cache_key: "secret" }
    await host.client.chat.completions.create({ model, messages: user("hello"), ...more })
    const line = host.lines.find((one) => one.includes("fields not known"))!
    expect(JSON.parse(line)).toMatchObject({ level: "warn", fields: "store reasoning_effort prompt_cache_key" })
    expect(host.lines.join("")).not.toContain("secret")
  })

  test("streamed, with usage at the end", async () => {
    const stream = await host.client.chat.completions.create({
      ...{ model, messages: user("hello"), stream: true, stream_options: { include_usage: true } },
    })
    const chunks = []
    for await (const chunk of stream) chunks.push(chunk)
    expect(chunks[0]!.choices[0]!.delta).toMatchObject({ role: "assistant", content: "" })
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe("You said: hello")
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe("stop")
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 10 } })
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
  })

  test("the stream helper of the client puts the answer together", async () => {
    const runner = host.client.chat.completions.stream({ model, messages: user("hello") })
    expect((await runner.finalChatCompletion()).choices[0]!.message.content).toBe("You said: hello")
  })

  test("images, sound and files", async () => {
    const url = await pngUrl(20, 10)
    const data = base64(wavFile(tone(0.5, 8000), 8000))
    await host.client.chat.completions.create({
      model,
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "What is it?" },
            { type: "image_url", image_url: { url, detail: "low" } },
            { type: "input_audio", input_audio: { data, format: "wav" } },
            { type: "file", file: { filename: "a.png", file_data: url } },
          ],
        },
      ],
    })
    const [{ messages, maxSlices }] = host.engine.questions as [(typeof host.engine.questions)[0]]
    expect(maxSlices).toBe(1)
    expect(messages[0]!.content).toMatchObject([
      { type: "text", text: "What is it?" },
      { type: "image", image: { width: 20, height: 10 } },
      { type: "audio", audio: { sampleRateHz: 16_000 } },
      { type: "image", image: { width: 20, height: 10 } },
    ])
    const sound = (messages[0]!.content as unknown as { audio: { pcm: Float32Array } }[])[2]!.audio
    expect(sound.pcm.length).toBe(8000)
  })

  test("a spoken answer, and a reference to it", async () => {
    const first = await host.client.chat.completions.create({
      ...{ model, messages: user("hello"), modalities: ["text", "audio"], audio: { voice: "alloy", format: "wav" } },
    })
    const { message } = first.choices[0]!
    expect(message.content).toBe(null)
    expect(message.audio!.transcript).toBe("You said: hello")
    const wav = readWav(Buffer.from(message.audio!.data, "base64"))
    expect([wav.sampleRateHz, wav.samples.length, wav.truncated]).toEqual([24_000, 7200, false])
    await host.client.chat.completions.create({
      model,
      messages: [...user("hello"), { role: "assistant", audio: { id: message.audio!.id } }, ...user("and now?")],
    })
    expect(host.engine.questions[1]!.messages[1]).toEqual({ role: "assistant", content: "You said: hello" })
    const unknown = host.client.chat.completions.create({
      model,
      messages: [{ role: "assistant", audio: { id: "audio_no" } }, ...user("x")],
    })
    await expect(unknown).rejects.toMatchObject({ status: 400, param: "messages[0].audio.id" })
  })

  test("a spoken answer streamed: transcript and pcm16 in pieces", async () => {
    const stream = await host.client.chat.completions.create({
      ...{ model, messages: user("hello"), stream: true },
      ...{ modalities: ["text", "audio"], audio: { voice: "alloy", format: "pcm16" } },
    })
    let transcript = ""
    let samples = 0
    let expires: number | undefined
    const ids = new Set<string>()
    for await (const { choices } of stream) {
      const { audio } = choices[0]!.delta as {
        audio?: { id?: string; transcript?: string; data?: string; expires_at?: number }
      }
      transcript += audio?.transcript ?? ""
      samples += Buffer.from(audio?.data ?? "", "base64").length / 2
      expires = audio?.expires_at ?? expires
      if (audio?.id) ids.add(audio.id)
    }
    expect([transcript, samples, ids.size]).toEqual(["You said: hello", 7200, 1])
    expect(expires).toBeGreaterThan(Date.now() / 1000)
  })

  test("two calls of tools, and the way back", async () => {
    const asked = user("two weather reports")
    const first = await host.client.chat.completions.create({
      model,
      messages: asked,
      tools: [weather],
      tool_choice: "required",
    })
    const { message, finish_reason } = first.choices[0]!
    expect([finish_reason, message.content]).toEqual(["tool_calls", null])
    const calls = message.tool_calls!
    expect(calls).toMatchObject([
      { type: "function", function: { name: "weather", arguments: '{"city":"Paris"}' } },
      { type: "function", function: { name: "weather", arguments: '{"city":"Rome"}' } },
    ])
    expect(new Set(calls.map(({ id }) => id)).size).toBe(2)
    const results = calls.map(({ id }) => ({ role: "tool" as const, tool_call_id: id, content: "sunny" }))
    await host.client.chat.completions.create({ model, messages: [...asked, message, ...results], tools: [weather] })
    expect(host.engine.questions[0]!.format).toEqual({ type: "tool-call" })
    expect(host.engine.questions[1]!.messages.slice(1)).toEqual([
      {
        role: "assistant",
        content: "",
        toolCalls: ["Paris", "Rome"].map((city) => ({ name: "weather", arguments: JSON.stringify({ city }) })),
      },
      { role: "tool", content: "sunny" },
      { role: "tool", content: "sunny" },
    ])
  })

  test("calls in a stream", async () => {
    const runner = host.client.chat.completions.stream({
      ...{ model, messages: user("two weather reports"), tools: [weather] },
      tool_choice: { type: "function", function: { name: "weather" } },
    })
    const { message, finish_reason } = (await runner.finalChatCompletion()).choices[0]!
    expect(finish_reason).toBe("tool_calls")
    expect(message.tool_calls!.map((call) => (call as { function: { arguments: string } }).function.arguments)).toEqual(
      ['{"city":"Paris"}', '{"city":"Rome"}'],
    )
    expect(host.engine.questions[0]!.format).toEqual({ type: "tool-call", name: "weather" })
  })

  test("a JSON schema, parsed by the client", async () => {
    const schema = {
      ...{ type: "object", additionalProperties: false, required: ["city", "n"] },
      properties: { city: { type: "string" }, n: { type: "integer" } },
    }
    const answer = await host.client.chat.completions.parse({
      ...{ model, messages: user("where?") },
      response_format: { type: "json_schema", json_schema: { name: "place", strict: true, schema } },
    })
    expect(JSON.parse(answer.choices[0]!.message.content!)).toEqual({ city: "Paris", n: 3 })
    expect(host.engine.questions[0]!.format).toEqual({ type: "json-schema", schema })
  })

  test("penalties and biases reach the sampler", async () => {
    const biased = { frequency_penalty: 0.5, presence_penalty: -1, logit_bias: { 7: -100, 12: 3.5 } }
    await host.client.chat.completions.create({ model, messages: user("hi"), ...biased })
    expect(host.engine.questions[0]).toMatchObject({
      ...{ frequencyPenalty: 0.5, presencePenalty: -1, logitBias: { 7: -100, 12: 3.5 } },
    })
  })

  test.each([
    [{ messages: [] }, "messages"],
    [{ temperature: 3 }, "temperature"],
    [{ stop: ["a", "b", "c", "d", "e"] }, "stop"],
    [{ frequency_penalty: 3 }, "frequency_penalty"],
    [{ logit_bias: { 1: 200 } }, "logit_bias.1"],
    [{ logit_bias: { one: 2 } }, "logit_bias.one"],
    [{ functions: [{ name: "f" }] }, "functions"],
    [{ top_logprobs: 3 }, "top_logprobs"],
    [{ modalities: ["audio"] }, "audio"],
    [{ modalities: ["text", "audio"], audio: { voice: "alloy", format: "opus" }, stream: true }, "audio.format"],
    [{ modalities: ["text", "audio"], audio: { voice: "alloy", format: "ogg" } }, "audio.format"],
    [{ tools: [weather, weather] }, "tools"],
    [{ tools: [weather], tool_choice: { type: "function", function: { name: "no" } } }, "tool_choice"],
    [{ tool_choice: "required" }, "tool_choice"],
    [{ tools: [weather], response_format: { type: "json_object" } }, "response_format"],
    [
      {
        response_format: {
          type: "json_schema",
          json_schema: { name: "a", schema: { type: "object", properties: { a: { not: {} } } } },
        },
      },
      "response_format.json_schema.schema.a",
    ],
    [
      {
        messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "https://example.org/a.png" } }] }],
      },
      "messages[0].content[0].image_url",
    ],
    [
      {
        messages: [
          { role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } }] },
        ],
      },
      "messages[0].content[0].image_url",
    ],
    [
      {
        messages: [{ role: "user", content: [{ type: "input_audio", input_audio: { data: "%%%%", format: "wav" } }] }],
      },
      "messages[0].content[0].input_audio.data",
    ],
  ])("a wrong request names its field: %j", async (change, param) => {
    const response = await host.post("/v1/chat/completions", { model, messages: user("hi"), ...change })
    const { error } = (await response.json()) as { error: { type: string; param: string; message: string } }
    expect([response.status, error.type, error.param]).toEqual([400, "invalid_request_error", param])
    expect(error.message).toMatch(/expected|Invalid|Too/)
  })
})

describe("speech", () => {
  const request = { model, input: "Hello there.", voice: "alloy" as const }

  test("as MP3, the default", async () => {
    const response = await host.client.audio.speech.create(request)
    expect(response.headers.get("content-type")).toBe("audio/mpeg")
    const { format, pcm, sampleRateHz } = await decodeAudio(new Uint8Array(await response.arrayBuffer()))
    expect([format, sampleRateHz]).toEqual(["mp3", 24_000])
    expect(pcm.length / sampleRateHz).toBeGreaterThan(0.6)
    expect(host.engine.questions[0]).toMatchObject({
      messages: [{ role: "user", content: "Please read the text below.\nHello there." }],
      speak: true,
    })
  })

  test("as WAV of unknown length, and as raw samples", async () => {
    const wav = await host.client.audio.speech.create({ ...request, response_format: "wav" })
    const bytes = new Uint8Array(await wav.arrayBuffer())
    const pcm = await host.client.audio.speech.create({ ...request, response_format: "pcm" })
    expect(readWav(bytes).samples.length * 2).toBe((await pcm.arrayBuffer()).byteLength)
    expect(new DataView(bytes.buffer).getUint32(40, true)).toBe(0xffffffff)
  })

  test("as events", async () => {
    const response = await host.client.audio.speech.create({ ...request, response_format: "pcm", stream_format: "sse" })
    const events = (await response.text())
      .trim()
      .split("\n\n")
      .map((line) => JSON.parse(line.slice(6)))
    expect(events.at(-1)).toMatchObject({ type: "speech.audio.done", usage: { input_tokens: 7 } })
    expect(events.slice(0, -1).every(({ type, audio }) => type === "speech.audio.delta" && audio.length > 0)).toBe(true)
  })

  test.each([
    [{ response_format: "ogg" as "opus" }, "response_format", "response_format: Invalid option"],
    [{ speed: 2 }, "speed", "speed: expected 1"],
    [{ voice: "nobody" as "alloy" }, "voice", "voice: expected a known voice"],
    [{ input: "x".repeat(4097) }, "input", "input: Too big"],
  ])("%j is refused", async (change, param, message) => {
    const refused = host.client.audio.speech.create({ ...request, ...change })
    await expect(refused).rejects.toMatchObject({ param, message: expect.stringContaining(message) })
  })

  test("with a stored voice", async () => {
    const form = new FormData()
    form.set("name", "Anna")
    form.set("audio_sample", new Blob([wavFile(tone(2))]), "voice.wav")
    const headers = { authorization: "Bearer sk-test-one" }
    const stored = await fetch(`${host.url}/v1/audio/voices`, { method: "POST", body: form, headers })
    expect(stored.status).toBe(201)
    const { id } = (await stored.json()) as { id: string }
    for (const voice of ["Anna", { id }]) {
      await host.client.audio.speech.create({ ...request, voice: voice as "alloy" })
      const [first, second] = host.engine.questions.at(-1)!.messages
      expect(first!.content).toMatchObject([
        { type: "text", text: "Clone the voice in the provided audio prompt." },
        { type: "audio", audio: { sampleRateHz: 16_000 } },
      ])
      expect(second!.content).toContain("Hello there.")
    }
    const list = (await (await fetch(`${host.url}/v1/audio/voices`, { headers })).json()) as { data: { id: string }[] }
    expect(list.data.map((voice) => voice.id)).toEqual(expect.arrayContaining(["default", "alloy", id]))
    const gone = await fetch(`${host.url}/v1/audio/voices/${id}`, { method: "DELETE", headers })
    expect(await gone.json()).toMatchObject({ id, deleted: true })
    await expect(host.client.audio.speech.create({ ...request, voice: "Anna" as "alloy" })).rejects.toMatchObject({
      status: 404,
    })
  })
})

describe("transcriptions", () => {
  const file = async (seconds: number) => toFile(wavFile(tone(seconds)), "talk.wav")
  const heard = (samples: number) =>
    `You said: Please listen to the audio snippet carefully and transcribe the content.\n [sound ${samples}]`

  test("as JSON", async () => {
    const { text } = await host.client.audio.transcriptions.create({ model, file: await file(1) })
    expect(text).toBe(heard(16_000))
    expect(host.engine.questions[0]).toMatchObject({ temperature: 0 })
  })

  test("in Chinese, with a hint", async () => {
    await host.client.audio.transcriptions.create({ model, file: await file(1), language: "zh", prompt: "OpenBMB" })
    expect(host.engine.questions[0]!.messages[0]!.content).toMatchObject([
      { text: "请仔细听这段音频片段，并将其内容逐字记录。\nOpenBMB\n" },
      { type: "audio" },
    ])
  })

  test("long ones in windows, with times", async () => {
    const verbose = await host.client.audio.transcriptions.create({
      ...{ model, file: await file(65), response_format: "verbose_json", timestamp_granularities: ["segment"] },
    })
    expect(verbose.duration).toBe(65)
    const segments = verbose.segments!
    expect(segments.length).toBe(3)
    expect(segments[0]!.start).toBe(0)
    expect(segments.at(-1)!.end).toBe(65)
    for (const [i, { start, end }] of segments.entries()) {
      expect(end - start).toBeLessThanOrEqual(30)
      if (i > 0) expect(start).toBe(segments[i - 1]!.end)
    }
  })

  test.each([
    ["text", /^You said: /],
    ["srt", /^1\n00:00:00,000 --> 00:00:01,000\nYou said: /],
    ["vtt", /^WEBVTT\n\n00:00:00\.000 --> 00:00:01\.000\nYou said: /],
  ] as const)("as %s", async (response_format, pattern) => {
    expect(await host.client.audio.transcriptions.create({ model, file: await file(1), response_format })).toMatch(
      pattern,
    )
  })

  test("streamed", async () => {
    const stream = await host.client.audio.transcriptions.create({ model, file: await file(1), stream: true })
    let text = ""
    for await (const event of stream) {
      if (event.type === "transcript.text.delta") text += event.delta
      else expect(event).toMatchObject({ type: "transcript.text.done", text: heard(16_000) })
    }
    expect(text).toBe(heard(16_000))
  })

  test("translations", async () => {
    const { text } = await host.client.audio.translations.create({ model, file: await file(1) })
    expect(text).toContain("[sound 16000]")
  })

  test.each([
    [
      { timestamp_granularities: ["word"] as "word"[], response_format: "verbose_json" as const },
      "timestamp_granularities",
    ],
    [{ response_format: "diarized_json" as const }, "response_format"],
    [{ include: ["logprobs" as const] }, "include"],
    [{ temperature: 9 }, "temperature"],
  ])("%j is refused", async (change, param) => {
    const refused = host.client.audio.transcriptions.create({ model, file: await file(1), ...change })
    await expect(refused).rejects.toMatchObject({ status: 400, param })
  })

  test("what is no sound is refused", async () => {
    const noise = await toFile(Buffer.from("not a sound at all, really not"), "talk.wav")
    await expect(host.client.audio.transcriptions.create({ model, file: noise })).rejects.toMatchObject({
      ...{ status: 400, param: "file" },
    })
  })
})

describe("models", () => {
  test("one, by list and by name", async () => {
    const [only] = (await host.client.models.list()).data
    expect(only).toMatchObject({ id: model, object: "model", loaded: true, capabilities: { vision: true } })
    expect((await host.client.models.retrieve(model)).id).toBe(model)
    await expect(host.client.models.retrieve("gpt-4o")).rejects.toMatchObject({ status: 404, code: "model_not_found" })
    const other = host.client.chat.completions.create({ model: "gpt-4o", messages: user("hi") })
    await expect(other).rejects.toMatchObject({ status: 404, code: "model_not_found", param: "model" })
  })
})
