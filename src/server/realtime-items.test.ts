/** @file Items of a Realtime conversation, answers beside it, and calls of tools. */
import { describe, expect, test } from "vitest"
import { WORDS } from "./fake-call.test-util.ts"
import { append, LOUD, openSession, RESPOND, said, sound } from "./realtime.test-util.ts"

const ANSWER = `assistant: ${WORDS.join("")}`
const create = (item: object, previous_item_id?: string, event_id = "c") => ({
  ...{ type: "conversation.item.create", item, event_id },
  ...(previous_item_id === undefined ? {} : { previous_item_id }),
})
const message = (role: string, content: object[], id?: string) => ({
  type: "message",
  role,
  content,
  ...(id ? { id } : {}),
})
const text = (words: string) => [{ type: "input_text", text: words }]

describe("items", () => {
  test("are entered where the client says", async () => {
    const it = openSession()
    it.send(
      said("b", "b"),
      create(message("user", text("a"), "a"), "root"),
      create(message("user", text("c"), "c"), "b"),
    )
    it.send(
      create(message("user", text("between"), "between"), "a"),
      create(message("user", text("x")), "unknown", "bad"),
    )
    expect(it.of("conversation.item.added").map(({ item, previous_item_id }) => [previous_item_id, item.id])).toEqual([
      [null, "b"],
      [null, "a"],
      ["b", "c"],
      ["a", "between"],
    ])
    expect(it.errors).toMatchObject([{ code: "invalid_value", event_id: "bad" }])
    it.send(RESPOND)
    await it.seen("response.done")
    expect(it.engine.calls.at(-1)!.context).toEqual(["user: a", "user: between", "user: b", "user: c", ANSWER])
  })

  test("that are entered before others, or deleted, change what the model has read", async () => {
    const it = openSession()
    it.send(said("one", "one"), said("two", "two"), RESPOND)
    await it.seen("response.done")
    it.send(create(message("system", text("Be kind.")), "root"), { type: "conversation.item.delete", item_id: "one" })
    expect(await it.seen("conversation.item.deleted")).toMatchObject({ item_id: "one" })
    it.send(said("three"), RESPOND)
    await it.seen("response.done", 2)
    expect(it.engine.calls.at(-1)!.context).toEqual(["user: Be kind.", "user: two", ANSWER, "text three", ANSWER])
    it.send({ type: "conversation.item.retrieve", item_id: "one", event_id: "gone" })
    it.send({ type: "conversation.item.delete", item_id: "one", event_id: "again" })
    expect(it.errors.map(({ event_id }) => event_id)).toEqual(["gone", "again"])
  })

  test("may be deleted while an answer is made; it goes on", async () => {
    const it = openSession({ stepMs: 20 })
    it.send(said("one", "one"), RESPOND)
    await it.seen("response.output_audio.delta")
    it.send({ type: "conversation.item.delete", item_id: "one" }, said("two"))
    expect((await it.seen("response.done")).response.status).toBe("completed")
    it.send(RESPOND)
    await it.seen("response.done", 2)
    expect(it.engine.calls.at(-1)!.context.slice(0, 2)).toEqual([ANSWER, "user: two"])
  })

  test("of sound are heard, and told without it", async () => {
    const it = openSession()
    it.send(create(message("user", [{ type: "input_audio", audio: sound(5, 300) }], "s")), RESPOND)
    await it.seen("response.done")
    expect(it.engine.calls[0]!.context).toEqual(["heard 300", ANSWER])
    expect(it.of("conversation.item.added")[0]!.item).toMatchObject({ content: [{ type: "input_audio" }] })
    expect(JSON.stringify(it.of("conversation.item.added")[0])).not.toContain('"audio":')
    it.send({ type: "conversation.item.retrieve", item_id: "s" })
    const { item } = await it.seen("conversation.item.retrieved")
    expect((item as { content: { audio: string }[] }).content[0]!.audio).toBe(sound(5, 300))
  })

  test.each([
    [message("assistant", [{ type: "output_audio", transcript: "x" }]), "item.content"],
    [message("user", text("twice"), "first"), "item.id"],
    [{ type: "function_call_output", call_id: "call_no", output: "1" }, "item.call_id"],
    [message("user", [{ type: "input_audio", audio: "AA==" }]), "item.content"],
    [message("user", [{ type: "input_video" }]), "item.content.0.type"],
    [{ type: "mcp_call" }, "item.type"],
  ])("%j is refused", (item, param) => {
    const it = openSession()
    it.send(said("first", "first"), create(item))
    expect(it.of("error")).toMatchObject([{ error: { code: "invalid_value", param, event_id: "c" } }])
    expect(it.of("conversation.item.added")).toHaveLength(1)
  })

  test("are bounded in number and size", () => {
    const it = openSession({ maxItems: 3 })
    it.send(said("1"), said("2"), said("3"), said("4"))
    expect(it.errors).toMatchObject([{ message: expect.stringContaining("expected fewer items") }])
    const large = openSession()
    const image_url = `data:image/png;base64,${"A".repeat(20 * 1024 * 1024)}`
    for (let i = 0; i < 3; i++) large.send(create(message("user", [{ type: "input_image", image_url }])))
    expect(large.errors).toHaveLength(2)
  })
})

describe("answers", () => {
  test("in words alone, and no longer than asked for", async () => {
    const it = openSession()
    it.send(said("hi"), { type: "response.create", response: { output_modalities: ["text"], max_output_tokens: 2 } })
    const { response } = await it.seen("response.done")
    expect(response).toMatchObject({ status: "incomplete", status_details: { reason: "max_output_tokens" } })
    expect(response.output).toMatchObject([{ content: [{ type: "output_text", text: "One two " }] }])
    expect(it.of("response.output_text.done")).toMatchObject([{ text: "One two " }])
    expect(it.of("response.content_part.added")).toMatchObject([{ part: { type: "text", text: "" } }])
    expect(it.samples).toBe(0)
  })

  test("while one is made are refused, with the client's id", async () => {
    const it = openSession({ stepMs: 10 })
    it.send(said("hi"), RESPOND, { ...RESPOND, event_id: "twice" })
    expect(it.errors).toMatchObject([{ code: "conversation_already_has_active_response", event_id: "twice" }])
    expect((await it.seen("response.done")).response.status).toBe("completed")
    expect(it.of("response.created")).toHaveLength(1)
  })

  test("beside the conversation run with others, and leave it as it is", async () => {
    const it = openSession({ stepMs: 10 })
    it.send(said("hi", "hi"), RESPOND)
    const input = [{ type: "item_reference", id: "hi" }, message("user", text("aside"))]
    const metadata = { topic: "a" }
    it.send({
      type: "response.create",
      response: { conversation: "none", input, metadata, output_modalities: ["text"] },
    })
    it.send({ type: "response.create", response: { conversation: "none", input: [], instructions: "Only you." } })
    await it.seen("response.done", 3)
    const beside = it.of("response.done").filter(({ response }) => response.conversation_id === null)
    expect(beside.map(({ response }) => response.metadata)).toEqual([metadata, null])
    expect(it.engine.questions.map(({ messages }) => messages)).toEqual([
      [
        { role: "user", content: [{ type: "text", text: "hi" }] },
        { role: "user", content: [{ type: "text", text: "aside" }] },
      ],
      [{ role: "system", content: "Only you." }],
    ])
    expect(it.of("conversation.item.added").map(({ item }) => (item as { role: string }).role)).toEqual([
      "user",
      "assistant",
    ])
    it.send({ type: "response.create", event_id: "r", response: { input: [{ type: "item_reference", id: "no" }] } })
    expect(it.errors).toMatchObject([{ code: "invalid_value", event_id: "r" }])
  })

  test("to another context are part of the conversation", async () => {
    const it = openSession()
    it.send(said("hi"), RESPOND)
    await it.seen("response.done")
    it.send({ type: "response.create", response: { input: [message("user", text("only this"))] } })
    const { response } = await it.seen("response.done", 2)
    expect(response.conversation_id).not.toBeNull()
    await it.session.settled()
    expect(it.engine.calls[0]!.context.at(-1)).toBe("assistant: You said: only this")
  })

  test("to another context are cancelled and cut without harm to what the call said itself", async () => {
    const it = openSession()
    it.send(said("hi"), RESPOND)
    await it.seen("response.done")
    const aside = { type: "response.create", response: { input: [message("user", text("slow one two three"))] } }
    it.send(aside)
    await it.seen("response.output_audio.delta", WORDS.length + 2)
    it.send({ type: "response.cancel" })
    const { response } = await it.seen("response.done", 2)
    await it.session.settled()
    const spoken = (response.output[0] as unknown as { content: [{ transcript: string }] }).content[0].transcript
    expect(spoken).toMatch(/^You said/)
    expect(it.engine.calls[0]!.context).toEqual(["user: hi", ANSWER, `assistant: ${spoken}`])
    it.send(
      { type: "conversation.item.truncate", item_id: response.output[0]!.id, content_index: 0, audio_end_ms: 100 },
      ...[said("and?"), RESPOND],
    )
    await it.seen("response.done", 3)
    const heard = spoken.slice(0, Math.floor((spoken.length * 100) / 200))
    expect(it.engine.calls.at(-1)!.context).toEqual(["user: hi", ANSWER, `assistant: ${heard}`, "text and?", ANSWER])
  })

  test("count what they cost, and are limited per minute where that is set", async () => {
    let left = 2
    const countResponse = () => ({
      ...{ allowed: left-- > 0, limit: 2, remaining: Math.max(0, left), resetSeconds: 60, waitSeconds: 30 },
    })
    const it = openSession({ countResponse })
    for (let i = 1; i <= 2; i++) {
      it.send(said("hi"), RESPOND)
      await it.seen("response.done", i)
    }
    it.send({ ...RESPOND, event_id: "third" })
    it.send(append(LOUD), append(0)) // a turn that would be answered by itself
    await it.seen("error", 2)
    expect(it.errors[1]).toMatchObject({ code: "rate_limit_exceeded", event_id: null })
    expect(it.errors[0]).toMatchObject({ code: "rate_limit_exceeded", event_id: "third" })
    expect(it.of("rate_limits.updated").map(({ rate_limits }) => rate_limits)).toEqual([
      [{ name: "requests", limit: 2, remaining: 1, reset_seconds: 60 }],
      [{ name: "requests", limit: 2, remaining: 0, reset_seconds: 60 }],
    ])
  })
})

describe("tools", () => {
  const tools = [
    { type: "function", name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
  ]

  test("two calls at once, their results, and the answer", async () => {
    const it = openSession()
    it.send({ type: "session.update", session: { tools } }, said("two weather reports"), RESPOND)
    const { response } = await it.seen("response.done")
    const calls = response.output as { type: string; call_id: string; arguments: string }[]
    expect(calls.map(({ type, arguments: given }) => [type, given])).toEqual([
      ["function_call", '{"city":"Paris"}'],
      ["function_call", '{"city":"Rome"}'],
    ])
    const done = it.of("response.function_call_arguments.done")
    expect(done.map(({ output_index, name, call_id }) => [output_index, name, call_id])).toEqual([
      [0, "weather", calls[0]!.call_id],
      [1, "weather", calls[1]!.call_id],
    ])
    const pieces = it
      .of("response.function_call_arguments.delta")
      .map(({ output_index, delta }) => [output_index, delta])
    expect(pieces).toEqual([
      [0, '{"cit'],
      [0, 'y":"Paris"}'],
      [1, '{"cit'],
      [1, 'y":"Rome"}'],
    ])
    for (const { call_id } of calls) it.send(create({ type: "function_call_output", call_id, output: "sunny" }))
    it.send(RESPOND)
    expect((await it.seen("response.done", 2)).response.output).toMatchObject([{ type: "message" }])
    expect(it.engine.calls[0]!.options.tools).toMatchObject([{ name: "weather" }])
    expect(it.engine.calls[0]!.context.slice(-3)).toEqual(["tool: sunny", "tool: sunny", ANSWER])
    expect(it.errors).toEqual([])
  })

  test("are forced, forbidden, or given for one answer alone", async () => {
    const it = openSession()
    const respond = (tool_choice: unknown) => ({ type: "response.create", response: { tool_choice } })
    it.send({ type: "session.update", session: { tools } }, said("the weather?"), respond("none"))
    expect((await it.seen("response.done")).response.output).toMatchObject([{ type: "message" }])
    it.send(said("the weather?"), respond({ type: "function", name: "weather" }))
    expect((await it.seen("response.done", 2)).response.output).toMatchObject([
      { type: "function_call", name: "weather" },
    ])
    it.send({ type: "response.create", response: { tools, tool_choice: "required", conversation: "none", input: [] } })
    await it.seen("response.done", 3)
    expect(it.engine.questions[0]).toMatchObject({ format: { type: "tool-call" }, tools: [{ name: "weather" }] })
  })
})
