/**
 * @file Laws of Realtime, whatever a client sends in whatever order: every event is well-formed and where it may be, every
 * response ends once, and what the model knows is what the conversation says.
 */
import { setTimeout as sleep } from "node:timers/promises"
import fc from "fast-check"
import { expect, test } from "vitest"
import type { RealtimeServerEvent } from "../protocol/index.ts"
import {
  append,
  CLEAR,
  COMMIT,
  LOUD,
  MANUAL,
  openSession,
  RESPOND,
  said,
  type TestSession,
} from "./realtime.test-util.ts"

const update = (session: object) => ({ type: "session.update", session })
const turns = (turn_detection: object) => update({ audio: { input: { turn_detection, transcription: {} } } })
const respond = (response: object) => ({ type: "response.create", response })
const tools = [{ type: "function", name: "weather" }]
let count = 0

/** Steps by name, so that a counterexample can be read. */
const EVENTS: Readonly<Record<string, object | string>> = {
  loud: append(LOUD),
  quiet: append(0),
  "loud for longer": append(LOUD, 300),
  commit: COMMIT,
  clear: CLEAR,
  respond: RESPOND,
  "respond in text": respond({ output_modalities: ["text"] }),
  "respond aside": respond({ conversation: "none", input: [said("aside").item] }),
  "respond to": respond({ input: [said("only this").item] }),
  cancel: { type: "response.cancel" },
  "clear output": { type: "output_audio_buffer.clear" },
  "by hand": MANUAL,
  "by VAD": turns({ type: "server_vad" }),
  "by VAD, no interruption": turns({ type: "semantic_vad", interrupt_response: false }),
  "by VAD, no reply": turns({ type: "server_vad", create_response: false }),
  instruct: update({ instructions: "Be brief." }),
  "give tools": update({ tools }),
  malformed: { type: "input_audio_buffer.append", audio: 1 },
  "no JSON": "{",
  "no object": "null",
}
/** Steps that depend on what was told so far. */
const LOOKED_UP: Readonly<Record<string, (it: TestSession) => object>> = {
  say: () => said(`words ${count++}, two weather`),
  "say first": () => ({ ...said(`words ${count++}`), previous_item_id: "root" }),
  delete: (it) => ({
    type: "conversation.item.delete",
    item_id: it.of("conversation.item.done").at(-1)?.item.id ?? "none",
  }),
  truncate: (it) => {
    const item_id = it.of("response.output_audio.delta").at(-1)?.item_id ?? "none"
    return { type: "conversation.item.truncate", item_id, content_index: 0, audio_end_ms: 200 }
  },
  result: (it) => {
    const call_id = it.of("response.function_call_arguments.done").at(-1)?.call_id ?? "none"
    const item = { type: "function_call_output", call_id, output: `sunny ${count++}` }
    return { type: "conversation.item.create", item }
  },
}
/** A number is a pause. */
const step = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...Object.keys(EVENTS)) },
  { weight: 2, arbitrary: fc.constantFrom(...Object.keys(LOOKED_UP), "die") },
  { weight: 1, arbitrary: fc.constantFrom(0, 1, 5) },
)

async function take(one: string | number, it: TestSession): Promise<void> {
  if (typeof one === "number") await sleep(one)
  else if (one === "die") {
    it.engine.die()
    await sleep(1)
    it.engine.revive()
  } else {
    const event = EVENTS[one] ?? LOOKED_UP[one]!(it)
    it.session.receive(typeof event === "string" ? event : JSON.stringify(event))
  }
}

/** Breaks of the promised order, as text. */
function breaks(events: readonly RealtimeServerEvent[]): string[] {
  const found: string[] = []
  const running = new Map<string, number>()
  const ended = new Set<string>()
  /** Items of responses that were added: where their parts stand. */
  const open = new Map<string, Set<string>>()
  const items = new Set<string>()
  let speech: string | undefined
  for (const event of events) {
    switch (event.type) {
      case "response.created":
        if (event.response.output.length > 0 || event.response.usage !== null) found.push("created with content")
        running.set(event.response.id, 0)
        continue
      case "response.done": {
        const { id, status, output } = event.response
        if (!running.delete(id)) found.push(ended.has(id) ? "done twice" : "done without created")
        ended.add(id)
        if (status === "in_progress") found.push("done but in progress")
        if (JSON.stringify(output).includes('"in_progress"')) found.push("done with an item in progress")
        if ([...open.keys()].some((key) => key.startsWith(id))) found.push("done before its items")
        continue
      }
      case "input_audio_buffer.speech_started":
        speech = event.item_id
        continue
      case "input_audio_buffer.speech_stopped":
        if (speech !== event.item_id) found.push("stopped without its start")
        continue
      case "conversation.item.added":
        if (items.has(event.item.id!)) found.push("added twice")
        if (event.previous_item_id !== null && !items.has(event.previous_item_id))
          found.push("added after an unknown item")
        items.add(event.item.id!)
        continue
      case "conversation.item.done":
      case "conversation.item.retrieved":
        if (!items.has(event.item.id!)) found.push(`${event.type} before added`)
        continue
      case "conversation.item.deleted":
      case "conversation.item.truncated":
        if (!items.has(event.item_id)) found.push(`${event.type} of an unknown item`)
        continue
      default:
    }
    if (!("response_id" in event && "output_index" in event)) continue
    const id = "item" in event ? event.item.id! : event.item_id
    const key = `${event.response_id} ${id}`
    const parts = open.get(key)
    if (!running.has(event.response_id)) found.push(`${event.type} outside its response`)
    if (event.type === "response.output_item.added") {
      if (event.output_index !== running.get(event.response_id)) found.push("items out of order")
      running.set(event.response_id, event.output_index + 1)
      open.set(key, new Set())
    } else if (!parts) found.push(`${event.type} outside its item`)
    else if (event.type === "response.output_item.done") open.delete(key)
    else if (event.type === "response.content_part.added") parts.add("part")
    else if (event.type === "response.content_part.done") parts.delete("part")
    else if (event.type.startsWith("response.output_") && !parts.has("part"))
      found.push(`${event.type} outside its part`)
  }
  if (running.size > 0) found.push("created without done")
  return found
}

/** The words of the conversation as it was told, item by item. */
function told(it: TestSession): string[] {
  const order: string[] = []
  for (const event of it.events) {
    if (event.type === "conversation.item.deleted") order.splice(order.indexOf(event.item_id), 1)
    if (event.type !== "conversation.item.added") continue
    const { previous_item_id: before } = event
    order.splice(before === null ? 0 : order.indexOf(before) + 1, 0, event.item.id!)
  }
  const from = it.of("conversation.item.retrieved").length
  it.send(...order.map((item_id) => ({ type: "conversation.item.retrieve", item_id })))
  return it
    .of("conversation.item.retrieved")
    .slice(from)
    .flatMap(({ item }) => {
      if (item.type === "function_call") return []
      if (item.type === "function_call_output") return [`tool: ${item.output}`]
      const words = item.content.map((part) =>
        "text" in part ? part.text : "transcript" in part ? part.transcript : "",
      )
      // What was said aloud is in the context as sound.
      if (item.role === "user" && item.content.some(({ type }) => type === "input_audio")) return []
      return [`${item.role}: ${words.join("")}`]
    })
}

/** The same lines in what the model knows: an answer may be known only as far as it was heard. */
function unknown(lines: readonly string[], context: readonly string[]): string[] {
  const known = context
    .filter((line) => !/^(heard|frame) /.test(line))
    .map((line) => line.replace(/^text /, "user: "))
    .filter((line) => line !== "assistant: ")
  const wanted = lines.filter((line) => line !== "assistant: ")
  const found: string[] = []
  let at = 0
  for (const line of wanted) {
    const here = known[at]
    const fits = here === line || (line.startsWith("assistant: ") && here !== undefined && line.startsWith(here))
    if (fits) at++
    // Cut off before its first word: nothing of it is known.
    else if (line !== "assistant: One ") found.push(`expected ${line}, got ${here}`)
  }
  if (at < known.length) found.push(`not told: ${known.slice(at).join(" | ")}`)
  return found
}

test("whatever a client sends, order holds, responses end once, and the model knows what was said", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const it = openSession({ stepMs: 0 })
      for (const one of steps) await take(one, it)
      const settle = async () => {
        for (let quiet = 0; quiet < 4; quiet++) {
          await it.session.settled()
          await sleep(2)
        }
      }
      await settle()
      it.send(MANUAL, CLEAR, said("at last"), respond({ output_modalities: ["text"] }))
      await settle()
      expect(breaks(it.events)).toEqual([])
      const lines = told(it)
      // One that was replaced while it was opened may come last, and is closed.
      const open = it.engine.calls.filter(({ isOpen }) => isOpen)
      expect(open).toHaveLength(1)
      expect(unknown(lines, open[0]!.context)).toEqual([])
      await it.session.close()
      expect(it.engine.calls.filter(({ isOpen }) => isOpen)).toEqual([])
    }),
    { numRuns: Number(process.env.RUNS ?? 100), examples: [[["loud", "loud", "die", "by hand", "loud"]]] },
  )
}, 60_000)
