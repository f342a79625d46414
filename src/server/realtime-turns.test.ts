/** @file Turns of a Realtime session: their events in order, stopping and cutting answers, and what the model knows then. */
import { describe, expect, test } from "vitest"
import { WORD_MS, WORDS } from "./fake-call.test-util.ts"
import { append, CLEAR, COMMIT, LOUD, MANUAL, openSession, RESPOND, said } from "./realtime.test-util.ts"

const ITEM = ["conversation.item.added", "conversation.item.done"]
const ANSWER = [
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
]

test("a turn that the engine finds has its events in order", async () => {
  const it = openSession()
  it.send(append(0), append(LOUD), append(LOUD), append(0))
  const done = await it.seen("response.done")
  expect(it.order).toEqual([
    ...["session.created", "conversation.created", "input_audio_buffer.speech_started"],
    ...["input_audio_buffer.speech_stopped", "input_audio_buffer.committed", ...ITEM, ...ANSWER],
  ])
  const [started] = it.of("input_audio_buffer.speech_started")
  const [stopped] = it.of("input_audio_buffer.speech_stopped")
  const [committed] = it.of("input_audio_buffer.committed")
  expect([started!.audio_start_ms, stopped!.audio_end_ms]).toEqual([100, 400])
  expect(new Set([started, stopped, committed].map((event) => event!.item_id)).size).toBe(1)
  expect(it.samples).toBe(WORDS.length * WORD_MS * 24)
  expect(done.response).toMatchObject({
    ...{ status: "completed", status_details: null, conversation_id: expect.stringMatching(/^conv_/) },
    output: [{ role: "assistant", content: [{ type: "output_audio", transcript: WORDS.join("") }] }],
    usage: {
      input_tokens: 7,
      output_tokens: 4,
      total_tokens: 11,
      output_token_details: { text_tokens: 4, audio_tokens: 0 },
    },
  })
})

test.each([
  ["sound", () => append(LOUD)],
  ["a frame", () => ({ type: "input_video_buffer.append", image: btoa("a frame") })],
])("is found while %s before it is still being read", async (_, slow) => {
  const it = openSession()
  it.send({ type: "session.update", session: { type: "realtime", extensions: ["omni.video"] } }, append(0))
  await expect.poll(() => it.engine.calls.length).toBe(1)
  await it.session.settled()
  const release = it.engine.calls[0]!.hold()
  it.send(slow(), append(LOUD), append(LOUD), append(0), append(0))
  await it.seen("input_audio_buffer.speech_stopped")
  expect(it.session.behindMs).toBeGreaterThan(0)
  release()
  await it.seen("response.done")
  await it.session.settled()
  expect([it.session.behindMs, Math.round(it.session.unread)]).toEqual([0, 0])
  expect(it.errors).toEqual([])
})

test("is found while an answer that was stopped is being cut", async () => {
  const it = openSession({ stepMs: 20 })
  it.send(append(0), said("hi"), RESPOND)
  await it.seen("response.output_audio.delta")
  const release = it.engine.calls[0]!.hold()
  it.send({ type: "response.cancel" }, append(LOUD), append(LOUD), append(0))
  await it.seen("input_audio_buffer.speech_stopped")
  expect(it.engine.log.filter((entry) => entry.startsWith("interrupt"))).toEqual([])
  release()
  await it.seen("response.done", 2)
  await it.session.settled()
  expect(it.engine.log.filter((entry) => entry.startsWith("interrupt"))).toHaveLength(1)
  expect(it.errors).toEqual([])
})

test("a long piece of sound is given in parts, none of it lost or out of place", async () => {
  const it = openSession()
  it.send(append(0, 25_500), append(LOUD), append(0))
  expect((await it.seen("input_audio_buffer.speech_started")).audio_start_ms).toBe(25_500)
  await it.session.settled()
  expect(it.engine.log.filter((entry) => entry === "pcm")).toHaveLength(5)
  expect(it.engine.calls[0]!.context[0]).toBe("heard 25700")
})

test("no more sound is given to an engine that reads than it keeps", async () => {
  const it = openSession()
  it.send(append(0))
  await expect.poll(() => it.engine.calls.length).toBe(1)
  await it.session.settled()
  const release = it.engine.calls[0]!.hold()
  const given = () => it.engine.log.filter((entry) => entry === "pcm").length
  for (let i = 0; i < 5; i++) it.send(append(0, 9000))
  await expect.poll(given).toBe(4)
  await new Promise((done) => setTimeout(done, 20))
  expect([given(), it.session.behindMs]).toEqual([4, 45_000])
  release()
  await it.session.settled()
  expect([given(), it.session.behindMs]).toEqual([6, 0])
})

test("speech that the client answers in its middle is a turn, and is answered once", async () => {
  const it = openSession()
  it.send(append(0), append(LOUD))
  await it.seen("input_audio_buffer.speech_started")
  it.send(RESPOND)
  await it.seen("response.done")
  it.send(append(0), append(0), said("and?"), RESPOND)
  await it.seen("response.done", 2)
  await it.session.settled()
  expect(it.of("response.created")).toHaveLength(2)
  expect(it.of("input_audio_buffer.committed")).toHaveLength(1)
  const [committed] = it.of("input_audio_buffer.committed")
  expect(committed!.item_id).toBe(it.of("input_audio_buffer.speech_started")[0]!.item_id)
})

test("a turn that the client commits is heard while it is spoken", async () => {
  const it = openSession()
  it.send(MANUAL, append(LOUD, 300))
  await expect.poll(() => it.engine.calls[0]?.context).toEqual(["heard 300"])
  it.send(append(LOUD, 200), COMMIT, RESPOND)
  await it.seen("response.done")
  expect(it.engine.calls).toHaveLength(1)
  expect(it.engine.calls[0]!.context).toEqual(["heard 500", `assistant: ${WORDS.join("")}`])
  expect(it.order.slice(2)).toEqual(["session.updated", "input_audio_buffer.committed", ...ITEM, ...ANSWER])
})

describe("what is not committed", () => {
  test("is forgotten when it is cleared, though it was heard", async () => {
    const it = openSession()
    it.send(MANUAL, append(LOUD, 300), COMMIT, append(LOUD, 200))
    await expect.poll(() => it.engine.calls[0]?.context).toEqual(["heard 300", "heard 200"])
    it.send(CLEAR, append(LOUD, 400), COMMIT, RESPOND)
    await it.seen("response.done")
    expect(it.engine.calls[0]!.context.slice(0, -1)).toEqual(["heard 300", "heard 400"])
    expect(it.of("input_audio_buffer.cleared")).toHaveLength(1)
  })

  test("comes after what is said in words, and after answers", async () => {
    const it = openSession()
    it.send(MANUAL, append(LOUD, 300), said("first"), RESPOND, append(LOUD, 200))
    await it.seen("response.done")
    it.send(COMMIT, RESPOND)
    await it.seen("response.done", 2)
    expect(it.engine.calls[0]!.context).toEqual([
      ...["text first", `assistant: ${WORDS.join("")}`, "heard 500", `assistant: ${WORDS.join("")}`],
    ])
  })

  test("goes on in the call that new settings ask for", async () => {
    const it = openSession()
    it.send(MANUAL, said("hello"), append(LOUD, 300))
    await expect.poll(() => it.engine.calls[0]?.context).toEqual(["user: hello", "heard 300"])
    it.send({ type: "session.update", session: { instructions: "Be brief." } }, append(LOUD, 200), COMMIT, RESPOND)
    await it.seen("response.done")
    expect(it.engine.calls).toHaveLength(2)
    expect(it.engine.calls[1]!.options.instructions).toBe("Be brief.")
    expect(it.engine.calls[1]!.context.slice(0, -1)).toEqual(["user: hello", "heard 500"])
    expect(it.of("omni.context.changed")).toMatchObject([{ reason: "rebuilt" }])
  })
})

test("what was said is read again with its sound when settings ask for another call", async () => {
  const it = openSession()
  it.send(append(LOUD), append(0))
  await it.seen("response.done")
  it.send({ type: "session.update", session: { instructions: "Other." } }, said("and?"), RESPOND)
  await it.seen("response.done", 2)
  const answer = `assistant: ${WORDS.join("")}`
  expect(it.engine.calls[1]!.context).toEqual(["heard 200", answer, "text and?", answer])
})

describe("speech that goes on", () => {
  const answer = `assistant: ${WORDS.join("")}`

  test("comes whole after what is said in words meanwhile, as the items do", async () => {
    const it = openSession()
    it.send(append(0), append(LOUD, 300))
    const { item_id } = await it.seen("input_audio_buffer.speech_started")
    await it.session.settled()
    it.send(said("by the way", "words"))
    await it.session.settled()
    it.send(append(LOUD, 200), append(0))
    await it.seen("response.done")
    expect(it.engine.calls[0]!.context).toEqual(["text by the way", "heard 600", answer])
    expect(
      it
        .of("conversation.item.added")
        .map(({ item }) => item.id)
        .slice(0, 2),
    ).toEqual(["words", item_id])
    expect(it.of("input_audio_buffer.speech_started")).toHaveLength(1)
    expect(it.of("input_audio_buffer.speech_stopped")).toMatchObject([{ item_id, audio_end_ms: 700 }])
  })

  test("is one turn, though its end was found before it was to be heard again", async () => {
    const it = openSession()
    it.send(append(LOUD, 300))
    await it.seen("input_audio_buffer.speech_started")
    await it.session.settled()
    it.send(said("by the way"))
    it.engine.calls[0]!.report({ type: "speech-end", atMs: 300, endMs: 250 })
    await it.session.settled()
    it.engine.calls[0]!.report({ type: "speech-end", atMs: 300, endMs: 250 })
    it.send(append(0))
    await it.seen("response.done")
    await it.session.settled()
    expect(it.engine.calls[0]!.context).toEqual(["text by the way", "heard 400", answer])
    expect(it.of("input_audio_buffer.committed")).toHaveLength(1)
    expect(it.of("response.created")).toHaveLength(1)
  })

  test("is not touched by answers beside the conversation", async () => {
    const it = openSession()
    it.send(append(LOUD, 300))
    await it.seen("input_audio_buffer.speech_started")
    it.send({ type: "response.create", response: { conversation: "none", input: [said("aside").item] } })
    await it.seen("response.done")
    expect(it.engine.log).not.toContain("clear")
  })

  test("is not found where it was cleared", async () => {
    const it = openSession()
    it.send(append(0))
    await it.session.settled()
    await expect.poll(() => it.engine.calls.length).toBe(1)
    it.send(CLEAR)
    it.engine.calls[0]!.report({ type: "speech-start", atMs: 100, startMs: 0 })
    await it.session.settled()
    expect(it.of("input_audio_buffer.speech_started")).toEqual([])
    it.send(append(LOUD))
    await it.seen("input_audio_buffer.speech_started")
  })
})

test("speech goes on in the call that new settings ask for", async () => {
  const it = openSession()
  it.send(said("hello"), append(LOUD, 300))
  const { item_id } = await it.seen("input_audio_buffer.speech_started")
  await it.session.settled()
  const format = { type: "audio/pcmu" }
  it.send({ type: "session.update", session: { audio: { input: { format } } } })
  const loud = { type: "input_audio_buffer.append", audio: Buffer.alloc(800, 0x10).toString("base64") }
  const quiet = { type: "input_audio_buffer.append", audio: Buffer.alloc(800, 0xff).toString("base64") }
  it.send(loud, quiet)
  await it.seen("response.done")
  expect(it.engine.calls[1]!.context).toEqual(["user: hello", "heard 500", `assistant: ${WORDS.join("")}`])
  expect(it.of("input_audio_buffer.speech_started")).toHaveLength(1)
  expect(it.of("input_audio_buffer.committed")).toMatchObject([{ item_id }])
})

test("speech is where it was said, though a call that was being opened for it was replaced", async () => {
  const it = openSession()
  it.send(append(0, 1000), append(LOUD, 300))
  await it.seen("input_audio_buffer.speech_started")
  await it.session.settled()
  const { call } = it.engine
  const opening = Promise.withResolvers<void>()
  const opens = Promise.withResolvers<void>()
  it.engine.call = async (...args) => {
    it.engine.call = call
    opening.resolve()
    await opens.promise
    return await call(...args)
  }
  const update = (instructions: string) => ({ type: "session.update", session: { instructions } })
  it.send(update("one"), append(LOUD))
  await opening.promise
  it.send(update("two"), append(LOUD))
  await expect.poll(() => it.engine.calls[1]?.context).toEqual(["heard 500"])
  opens.resolve()
  it.send(append(0))
  await it.seen("response.done")
  expect(it.of("input_audio_buffer.speech_stopped")).toMatchObject([{ audio_end_ms: 1600 }])
  expect(it.engine.calls[1]!.context[0]).toBe("heard 600")
  expect(it.engine.calls[2]!.context).toEqual([])
})

describe("an answer that is cancelled", () => {
  const status = { status: "cancelled", status_details: { type: "cancelled", reason: "client_cancelled" } }

  test("before its first word has no item", async () => {
    const it = openSession({ stepMs: 50 })
    it.send(said("hi"), RESPOND, { type: "response.cancel", event_id: "c" })
    expect((await it.seen("response.done")).response).toMatchObject({ ...status, output: [] })
    await it.session.settled()
    expect(it.order.slice(4)).toEqual(["response.created", "response.done"])
    expect(it.errors).toEqual([])
  })

  test("amid its sound ends everything that was begun, once", async () => {
    const it = openSession({ stepMs: 30 })
    it.send(said("hi"), RESPOND)
    await it.seen("response.output_audio.delta", 2)
    it.send({ type: "response.cancel" })
    const { response } = await it.seen("response.done")
    expect(response).toMatchObject({
      ...status,
      output: [{ status: "incomplete", content: [{ transcript: "One two " }] }],
    })
    await it.session.settled()
    expect(it.order.slice(4)).toEqual(ANSWER)
    expect(it.of("response.done")).toHaveLength(1)
    expect(it.engine.calls[0]!.context.at(-1)).toBe("assistant: One two ")
  })

  test("after its end is an error with the client's id, and nothing else", async () => {
    const it = openSession()
    it.send(said("hi"), RESPOND)
    const { response } = await it.seen("response.done")
    it.send({ type: "response.cancel", event_id: "late" }, { type: "response.cancel", response_id: response.id })
    expect(it.errors).toMatchObject([
      {
        code: "response_cancel_not_active",
        event_id: "late",
        message: "Cancellation failed: no active response found",
      },
      { code: "response_cancel_not_active", event_id: null },
    ])
    expect(it.of("response.done")).toHaveLength(1)
  })

  test("at once can be asked for again", async () => {
    const it = openSession({ stepMs: 20 })
    it.send(said("hi"), RESPOND, { type: "response.cancel" }, RESPOND)
    await it.seen("response.done", 2)
    expect(it.of("response.done").map(({ response }) => response.status)).toEqual(["cancelled", "completed"])
  })
})

describe("speech during an answer", () => {
  test("stops it, and the client cuts it to what was heard; the next answer knows that", async () => {
    const it = openSession({ stepMs: 40 })
    it.send(append(LOUD), append(0))
    const { item_id } = await it.seen("response.output_audio.delta", 3)
    it.send(append(LOUD))
    const { response } = await it.seen("response.done")
    expect(response).toMatchObject({ status: "cancelled", status_details: { reason: "turn_detected" } })
    it.send({ type: "conversation.item.truncate", item_id, content_index: 0, audio_end_ms: 250 })
    expect(await it.seen("conversation.item.truncated")).toMatchObject({ item_id, audio_end_ms: 250 })
    it.send({ type: "conversation.item.retrieve", item_id })
    expect((await it.seen("conversation.item.retrieved")).item).toMatchObject({ content: [{ transcript: "One two " }] })
    it.send(append(0))
    await it.seen("response.done", 2)
    expect(it.engine.calls[0]!.context).toContain("assistant: One two ")
    expect(it.engine.log).toContain("interrupt 250")
    expect(it.errors).toEqual([])
  })

  test("does not stop it when that is not wanted; the turn is answered afterwards", async () => {
    const it = openSession({ stepMs: 20 })
    const turn_detection = { type: "server_vad", interrupt_response: false }
    it.send({ type: "session.update", session: { audio: { input: { turn_detection } } } })
    it.send(append(LOUD), append(0))
    await it.seen("response.output_audio.delta")
    it.send(append(LOUD), append(0))
    await it.seen("response.done", 2)
    expect(it.of("response.done").map(({ response }) => response.status)).toEqual(["completed", "completed"])
  })

  test("is only reported when nothing else is wanted", async () => {
    const it = openSession()
    const turn_detection = { type: "semantic_vad", create_response: false, interrupt_response: false }
    it.send({ type: "session.update", session: { audio: { input: { turn_detection } } } }, append(LOUD), append(0))
    await it.seen("conversation.item.done")
    await it.session.settled()
    expect(it.of("response.created")).toEqual([])
    it.send(RESPOND)
    expect((await it.seen("response.done")).response.status).toBe("completed")
  })
})

describe("cutting an answer", () => {
  const answered = async () => {
    const it = openSession()
    it.send(said("hi"), RESPOND)
    const { response } = await it.seen("response.done")
    const cut = (audio_end_ms: number, item_id = response.output[0]!.id!, event_id = "t") =>
      it.send({ type: "conversation.item.truncate", event_id, item_id, content_index: 0, audio_end_ms })
    return Object.assign(it, { cut, totalMs: WORDS.length * WORD_MS })
  }

  test.each([
    [-20, "One two three four."],
    [0, "One two three four."],
    [20, "One two three four."],
  ])("takes a frame more or less than there is: %i ms", async (more, text) => {
    const it = await answered()
    it.cut(it.totalMs + more)
    await it.seen("conversation.item.truncated")
    expect(it.engine.calls[0]!.context.at(-1)).toBe(`assistant: ${text}`)
    expect(it.errors).toEqual([])
  })

  test("refuses clearly more, other items and unknown ones", async () => {
    const it = await answered()
    it.cut(it.totalMs + 500)
    it.cut(0, "nothing", "u")
    it.cut(0, it.of("conversation.item.added")[0]!.item.id!, "user")
    expect(it.errors).toMatchObject([
      { code: "invalid_value", event_id: "t", message: "Audio content of 800 ms is already shorter than 1300 ms" },
      { code: "invalid_value", event_id: "u" },
      { code: "invalid_value", event_id: "user" },
    ])
    expect(it.of("conversation.item.truncated")).toEqual([])
  })

  test("again, and then going on", async () => {
    const it = await answered()
    it.cut(500)
    it.cut(150)
    it.send(said("go on"), RESPOND)
    await it.seen("response.done", 2)
    const answer = `assistant: ${WORDS.join("")}`
    expect(it.engine.calls[0]!.context).toEqual(["user: hi", "assistant: One ", "text go on", answer])
  })

  test("an earlier one makes the model read again what was heard", async () => {
    const it = await answered()
    it.send(said("second"), RESPOND)
    await it.seen("response.done", 2)
    it.cut(400)
    await it.seen("conversation.item.truncated")
    it.send(said("third"), RESPOND)
    await it.seen("response.done", 3)
    expect(it.engine.calls.at(-1)!.context.slice(0, 2)).toEqual(["user: hi", "assistant: One two t"])
  })
})

test("nobody speaks for the time that was set: a reply comes by itself", async () => {
  const it = openSession()
  const turn_detection = { type: "server_vad", idle_timeout_ms: 5000 }
  it.send({ type: "session.update", session: { audio: { input: { turn_detection } } } }, append(0, 200))
  await expect.poll(() => it.engine.calls[0]?.options.turns).toMatchObject({ idleMs: 5000 })
  it.engine.calls[0]!.report({ type: "idle", atMs: 5200 })
  await it.seen("response.done")
  expect(it.of("input_audio_buffer.timeout_triggered")).toMatchObject([{ audio_start_ms: 0, audio_end_ms: 5200 }])
  expect(it.order.slice(3, 7)).toEqual([
    "input_audio_buffer.timeout_triggered",
    "input_audio_buffer.committed",
    ...ITEM,
  ])
})
