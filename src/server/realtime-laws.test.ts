import { setTimeout as sleep } from "node:timers/promises"
import fc from "fast-check"
import { expect, test } from "vitest"
import { type RealtimeServerMessage, serverEventSchema } from "../protocol/index.ts"
import { fakeEngine } from "./fake-engine.test-util.ts"
import { RealtimeSession } from "./realtime-session.ts"

const sound = (value: number) => Buffer.from(new Int16Array(2400 * 2).fill(value).buffer).toString("base64")
const item = (text: string, id?: string) => ({
  id,
  type: "message",
  role: "user",
  content: [{ type: "input_text", text }],
})

/** One step of a client: an event, or (a number) a pause. */
const step = fc.constantFrom<object | number | string>(
  { type: "input_audio_buffer.append", audio: sound(9000) },
  { type: "input_audio_buffer.append", audio: sound(0) },
  { type: "input_audio_buffer.commit" },
  { type: "input_audio_buffer.clear" },
  { type: "response.create" },
  { type: "response.create", response: { output_modalities: ["text"] } },
  { type: "response.create", response: { conversation: "none", input: [item("aside")] } },
  { type: "response.cancel" },
  { type: "conversation.item.create", item: item("hello") },
  { type: "conversation.item.create", item: item("first", "fixed"), previous_item_id: "root" },
  { type: "conversation.item.delete", item_id: "fixed" },
  { type: "conversation.item.truncate", item_id: "LATEST", content_index: 0, audio_end_ms: 100 },
  { type: "session.update", session: { audio: { input: { turn_detection: null } } } },
  { type: "session.update", session: { audio: { input: { turn_detection: { type: "server_vad" } } } } },
  {
    type: "session.update",
    session: { audio: { input: { turn_detection: { type: "semantic_vad", interrupt_response: false } } } },
  },
  { type: "input_audio_buffer.append", audio: 1 },
  "{",
  "null",
  1,
  5,
)

/** Breaks of the promised order, as text. */
function breaks(events: readonly RealtimeServerMessage[]): string[] {
  const found: string[] = []
  const running = new Set<string>()
  const open = new Set<string>()
  const items = new Set<string>()
  for (const event of events) {
    if (!serverEventSchema.safeParse({ ...event, event_id: "e" }).success) found.push(`${event.type} is malformed`)
    if (event.type === "response.created") running.add(event.response.id)
    else if (event.type === "response.done") {
      if (!running.delete(event.response.id)) found.push("done without created")
      if (event.response.status === "in_progress") found.push("done but in progress")
      if ([...open].some((key) => key.startsWith(event.response.id))) found.push("done before its items")
    } else if ("response_id" in event && "output_index" in event) {
      const id = "item" in event ? event.item.id : event.item_id
      const key = `${event.response_id} ${id}`
      if (!running.has(event.response_id)) found.push(`${event.type} outside its response`)
      if (event.type === "response.output_item.added") open.add(key)
      else if (!open.has(key)) found.push(`${event.type} outside its item`)
      if (event.type === "response.output_item.done") open.delete(key)
    } else if (event.type === "conversation.item.added") items.add(event.item.id!)
    else if (event.type === "conversation.item.done" && !items.has(event.item.id!)) found.push("item done before added")
  }
  if (running.size > 0) found.push("created without done")
  return found
}

test("whatever a client sends, events keep their order and every response ends once", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const events: RealtimeServerMessage[] = []
      const session = new RealtimeSession({
        engine: fakeEngine(0),
        model: "m",
        send: (event) => events.push(event),
        decodeImage: () => Promise.reject(new Error("no pictures here")),
      })
      for (const one of steps) {
        const latest = events.findLast((event) => event.type === "response.output_audio.delta")?.item_id ?? "none"
        if (typeof one === "number") await sleep(one)
        else session.receive(typeof one === "string" ? one : JSON.stringify(one).replace("LATEST", latest))
      }
      for (let quiet = 0; quiet < 3; quiet++) {
        await session.settled()
        await sleep(1)
      }
      expect(breaks(events)).toEqual([])
      await session.close()
    }),
    { numRuns: 60 },
  )
})
