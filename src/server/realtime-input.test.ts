/** @file What Realtime clients send as sound, pictures and settings: formats, bounds, errors with codes, transcripts. */
import { describe, expect, test } from "vitest"
import { decodeMulaw } from "../audio/index.ts"
import { WORD_MS, WORDS } from "./fake-call.test-util.ts"
import { fakeEngine } from "./fake-engine.test-util.ts"
import { append, CLEAR, COMMIT, LOUD, MANUAL, openSession, RESPOND, said } from "./realtime.test-util.ts"

const audio = (text: string, event_id: string) => ({ type: "input_audio_buffer.append", audio: text, event_id })
const update = (session: object, event_id = "u") => ({ type: "session.update", session, event_id })

describe("sound", () => {
  test("of half samples, other characters, wrong type and 15 MiB + 1 is refused with the client's id; more follows", async () => {
    const it = openSession()
    const most = 15 * 1024 * 1024
    it.send(
      MANUAL,
      audio(Buffer.alloc(3).toString("base64"), "odd"),
      audio("%%%%", "characters"),
      audio("AAA", "length"),
      { type: "input_audio_buffer.append", audio: 5, event_id: "type" },
      audio(Buffer.alloc(most + 1).toString("base64"), "large"),
      audio("", "nothing"),
      append(LOUD, 200),
      COMMIT,
    )
    await it.session.settled()
    expect(it.errors.map(({ event_id, code }) => `${event_id} ${code}`)).toEqual(
      ["odd", "characters", "length", "type", "large"].map((id) => `${id} invalid_value`),
    )
    expect(it.engine.calls[0]!.context).toEqual(["heard 200"])
    it.send(audio(Buffer.alloc(most).toString("base64"), "largest"))
    await it.session.settled()
    expect(it.errors).toHaveLength(5)
  })

  test("that nobody commits is bounded", () => {
    const it = openSession({ maxBufferMs: 1000 })
    it.send(MANUAL, append(LOUD, 600), { ...append(LOUD, 600), event_id: "more" }, CLEAR, append(LOUD, 600))
    expect(it.errors).toMatchObject([{ code: "invalid_value", event_id: "more" }])
  })

  test("too short to commit, or none at all, is an error with its code", async () => {
    const it = openSession()
    it.send(MANUAL, { ...COMMIT, event_id: "empty" }, append(LOUD, 99), { ...COMMIT, event_id: "short" })
    it.send(append(LOUD, 1), COMMIT)
    await it.session.settled()
    expect(it.errors).toMatchObject([
      { code: "input_audio_buffer_commit_empty", event_id: "empty" },
      { code: "input_audio_buffer_commit_empty", event_id: "short" },
    ])
    expect(it.of("input_audio_buffer.committed")).toHaveLength(1)
  })

  test.each(["audio/pcmu", "audio/pcma"] as const)("in %s both ways", async (type) => {
    const it = openSession()
    it.send(update({ audio: { input: { format: { type }, turn_detection: null }, output: { format: { type } } } }))
    // Silence of both codes, one byte per sample at 8 kHz.
    const quiet = Buffer.alloc(1600, type === "audio/pcmu" ? 0xff : 0xd5).toString("base64")
    it.send({ type: "input_audio_buffer.append", audio: quiet }, COMMIT, RESPOND)
    const { response } = await it.seen("response.done")
    expect(it.engine.calls[0]!.options.sampleRateHz).toBe(8000)
    expect(it.engine.calls[0]!.context[0]).toBe("heard 200")
    expect(response.audio.output.format).toEqual({ type })
    const bytes = Buffer.concat(it.of("response.output_audio.delta").map(({ delta }) => Buffer.from(delta, "base64")))
    expect(bytes.length).toBe(WORDS.length * WORD_MS * 8)
    if (type === "audio/pcmu") expect(decodeMulaw(bytes)[3000]! / 32_768).toBeCloseTo(0.1, 2)
  })

  test("at 16 kHz, which the model hears", async () => {
    const it = openSession()
    it.send(update({ audio: { input: { format: { type: "audio/pcm", rate: 16000 }, turn_detection: null } } }))
    it.send(append(LOUD, 240), COMMIT)
    await it.session.settled()
    expect(it.engine.calls[0]!.options.sampleRateHz).toBe(16_000)
    expect(it.engine.calls[0]!.context).toEqual(["heard 360"])
  })
})

describe("settings", () => {
  test("that are present change; null and empty ones clear", () => {
    const it = openSession()
    const tools = [{ type: "function", name: "f", parameters: { type: "object" } }]
    it.send(update({ instructions: "Be brief.", tools, output_modalities: ["text"], max_output_tokens: 5 }))
    it.send(update({ instructions: "", tools: [], audio: { input: { turn_detection: null } } }))
    const [first, second] = it.of("session.updated")
    expect(first!.session).toMatchObject({ instructions: "Be brief.", tools, max_output_tokens: 5 })
    expect(second!.session).toMatchObject({ instructions: "", tools: [], output_modalities: ["text"] })
    expect(second!.session.audio.input.turn_detection).toBeNull()
    expect(first!.session.audio.input.turn_detection).toEqual({
      ...{
        type: "server_vad",
        threshold: 0.5,
        prefix_padding_ms: 300,
        silence_duration_ms: 500,
        idle_timeout_ms: null,
      },
      ...{ create_response: true, interrupt_response: true },
    })
  })

  test.each([
    [{ type: "transcription" }, "session.type"],
    [{ output_modalities: ["text", "audio"] }, "session.output_modalities"],
    [{ audio: { output: { voice: "nobody" } } }, "session.audio.output.voice"],
    [{ audio: { output: { format: { type: "audio/pcm", rate: 16000 } } } }, "session.audio.output.format.rate"],
    [{ audio: { input: { format: { type: "audio/opus" } } } }, "session.audio.input.format.type"],
    [
      { audio: { input: { turn_detection: { type: "server_vad", threshold: 2 } } } },
      "session.audio.input.turn_detection.threshold",
    ],
    [{ max_output_tokens: 0 }, "session.max_output_tokens"],
    [{ tools: [{ type: "mcp", server_label: "x" }] }, "session.tools.0.type"],
    [{ prompt: { id: "pmpt_1" } }, "session.prompt"],
  ])("%j is refused, and nothing changes", (session, param) => {
    const voice = (name: string) => {
      if (name !== "default") throw new Error("unknown")
      return undefined
    }
    const it = openSession({ voice })
    it.send(update(session))
    expect(it.of("error")).toMatchObject([{ error: { code: "invalid_value", param, event_id: "u" } }])
    expect(it.of("session.updated")).toEqual([])
  })

  test("that cannot be honoured are told to the operator, without their values", () => {
    const it = openSession()
    const noise_reduction = { type: "near_field" }
    it.send(
      update({ model: "gpt-realtime", tracing: "auto", truncation: "disabled", audio: { input: { noise_reduction } } }),
      update({ reasoning: { effort: "high" }, audio: { input: { transcription: { delay: "low" } } } }),
    )
    expect(it.errors).toEqual([])
    expect(it.warned.map(({ fields }) => fields)).toEqual([
      { ignored: "model audio.input.noise_reduction tracing truncation" },
      { fields: "session.reasoning session.audio.input.transcription.delay" },
    ])
  })

  test("of the voice are frozen once it spoke", async () => {
    const it = openSession()
    it.send(update({ audio: { output: { voice: "alloy" } } }), said("hi"), RESPOND)
    await it.seen("response.done")
    it.send(update({ audio: { output: { voice: "echo" } } }), update({ audio: { output: { voice: "alloy" } } }))
    expect(it.errors).toMatchObject([{ code: "invalid_value" }])
    expect(it.of("session.updated")).toHaveLength(2)
  })
})

describe("frames", () => {
  const image = "AAAA"

  test("of the camera come with the sound, one per second; they need their extension", async () => {
    let nowMs = 0
    const it = openSession({ nowMs: () => nowMs })
    it.send({ type: "input_video_buffer.append", image, event_id: "early" })
    expect(it.errors).toMatchObject([{ code: "invalid_event", event_id: "early" }])
    it.send(update({ extensions: ["omni.video"], audio: { input: { turn_detection: null } } }))
    for (nowMs = 0; nowMs < 3000; nowMs += 250)
      it.send({ type: "input_video_buffer.append", image, timestamp_ms: nowMs })
    it.send(append(LOUD, 300), COMMIT)
    await it.session.settled()
    expect(it.engine.calls[0]!.options.mode).toBe("omni")
    expect(it.engine.calls[0]!.context).toEqual(["frame 2x2", "frame 2x2", "frame 2x2", "heard 300"])
  })

  test("as items join what is being said", async () => {
    const it = openSession()
    it.send(MANUAL, append(LOUD, 300))
    const content = [{ type: "input_image", image_url: `data:image/png;base64,${image}` }]
    it.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } }, append(LOUD, 200))
    it.send(COMMIT)
    await it.session.settled()
    expect(it.engine.calls[0]!.context).toEqual(["heard 300", "frame 2x2", "heard 200"])
  })

  test("of one item are all seen: they come in one push, since a frame takes the place of another", async () => {
    const it = openSession()
    it.send(MANUAL, append(LOUD, 300))
    const content = [1, 2, 3].map(() => ({ type: "input_image", image_url: `data:image/png;base64,${image}` }))
    it.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } }, append(LOUD, 200))
    it.send(COMMIT)
    await it.session.settled()
    expect(it.engine.calls[0]!.context).toEqual(["heard 300", "frame 2x2", "frame 2x2", "frame 2x2", "heard 200"])
    expect(it.engine.log.filter((entry) => entry === "frame")).toHaveLength(1)
  })

  test.each(["https://example.org/a.png", "data:image/svg+xml;base64,AAAA", "data:image/png;base64,%%"])(
    "%s is refused",
    (image_url) => {
      const it = openSession()
      const content = [{ type: "input_image", image_url }]
      it.send({ type: "conversation.item.create", event_id: "i", item: { type: "message", role: "user", content } })
      expect(it.errors).toMatchObject([{ code: "invalid_value", event_id: "i" }])
      expect(it.of("conversation.item.added")).toEqual([])
    },
  )
})

describe("transcripts of what the user said", () => {
  const transcription = { transcription: { language: "zh", prompt: "OpenBMB" } }

  test("come behind the answer, beside the conversation", async () => {
    const it = openSession()
    it.send(update({ audio: { input: transcription } }), append(LOUD), append(LOUD), append(0))
    const completed = await it.seen("conversation.item.input_audio_transcription.completed")
    expect(it.of("response.done")).toHaveLength(1)
    const deltas = it.of("conversation.item.input_audio_transcription.delta")
    expect(deltas.map(({ delta }) => delta).join("")).toBe(completed.transcript)
    expect(completed).toMatchObject({
      ...{ item_id: it.of("input_audio_buffer.committed")[0]!.item_id, content_index: 0 },
      usage: { type: "duration", seconds: 0.3 },
    })
    // The question has the turn's sound and the hint; the call knows nothing of it.
    expect(completed.transcript).toContain("OpenBMB")
    expect(completed.transcript).toContain("[sound 7200]")
    expect(it.engine.calls[0]!.context).toEqual(["heard 300", `assistant: ${WORDS.join("")}`])
    it.send({ type: "conversation.item.retrieve", item_id: completed.item_id })
    const { item } = await it.seen("conversation.item.retrieved")
    const [part] = (item as unknown as { content: [{ transcript: string; audio: string }] }).content
    expect(part.transcript).toBe(completed.transcript)
    expect(Buffer.from(part.audio, "base64").length).toBe(7200 * 2)
  })

  test("fail without harm to the conversation", async () => {
    const engine = fakeEngine()
    // biome-ignore lint/correctness/useYield: it fails before its first event
    engine.chat = async function* () {
      throw new Error("a secret")
    }
    const it = openSession({ engine })
    it.send(update({ audio: { input: transcription } }), append(LOUD), append(0))
    const { error } = await it.seen("conversation.item.input_audio_transcription.failed")
    expect(error).toMatchObject({ type: "server_error", code: "transcription_failed" })
    expect(error.message).not.toContain("secret")
    expect((await it.seen("response.done")).response.status).toBe("completed")
  })

  test("are all there is in a transcription session", async () => {
    const it = openSession({ type: "transcription" })
    it.send(append(LOUD), append(0))
    await it.seen("conversation.item.input_audio_transcription.completed")
    it.send({ ...RESPOND, event_id: "r" })
    expect(it.errors).toMatchObject([{ code: "invalid_session_type", event_id: "r" }])
    expect(it.events.some(({ type }) => type.startsWith("response."))).toBe(false)
  })

  test("of turns by hand need no call in a transcription session", async () => {
    const it = openSession({ type: "transcription" })
    it.send(update({ audio: { input: { turn_detection: null } } }), append(LOUD, 300), COMMIT)
    await it.seen("conversation.item.input_audio_transcription.completed")
    expect(it.engine.calls).toHaveLength(0)
  })
})

test("what is no event at all is told so, with the client's id where there is one", () => {
  const it = openSession()
  for (const frame of ["{", "null", "[]", '"x"', '{"type":"nonsense","event_id":"n"}', '{"event_id":"t"}'])
    it.session.receive(frame)
  expect(it.errors.map(({ code, event_id }) => [code, event_id])).toEqual([
    ...Array.from({ length: 4 }, () => ["invalid_event", null]),
    ["invalid_event", "n"],
    ["invalid_event", "t"],
  ])
})
