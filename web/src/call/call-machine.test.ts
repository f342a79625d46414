/** @file The call over plain stories and over random ones: what must hold whatever happens in whatever order. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { base64Of } from "../audio/base64.ts"
import type { RealtimeClientEvent, RealtimeServerEvent } from "../omni.ts"
import { callStep, retryDelayMs } from "./call-machine.ts"
import { type CallEffect, type CallEvent, type CallState, IDLE, statusOf } from "./call-state.ts"
import { DEFAULT_SETTINGS } from "./settings.ts"

const audioOf = (ms: number) => base64Of(new Uint8Array(ms * 48))
const server = (event: object, atMs = 0): CallEvent => ({
  type: "server",
  atMs,
  event: { event_id: "e", ...event } as RealtimeServerEvent,
})
const created = (id: string) => server({ type: "response.created", response: { id } })
const done = (id: string, status = "completed") => server({ type: "response.done", response: { id, status } })
const item = (response: string, id: string) =>
  server({
    type: "response.output_item.added",
    response_id: response,
    output_index: 0,
    item: { id, type: "message", role: "assistant", content: [] },
  })
const inPart = (response: string, id: string) => ({
  response_id: response,
  item_id: id,
  output_index: 0,
  content_index: 0,
})
const sound = (response: string, id: string, ms: number) =>
  server({ type: "response.output_audio.delta", ...inPart(response, id), delta: audioOf(ms) })
const words = (response: string, id: string, delta: string) =>
  server({ type: "response.output_audio_transcript.delta", ...inPart(response, id), delta })

function play(events: readonly CallEvent[], from: CallState = IDLE): { state: CallState; effects: CallEffect[] } {
  let state = from
  const effects: CallEffect[] = []
  for (const event of events) {
    const [next, asked] = callStep(state, event)
    state = next
    effects.push(...asked)
  }
  return { state, effects }
}
const sent = (effects: readonly CallEffect[]): RealtimeClientEvent[] =>
  effects.flatMap((effect) => (effect.do === "send" ? [effect.event] : []))
const types = (effects: readonly CallEffect[]) =>
  effects.map((effect) => (effect.do === "send" ? effect.event.type : effect.do))

const DIAL: CallEvent[] = [{ type: "dial", mode: "voice" }, { type: "mic-ready" }, server({ type: "session.created" })]
const live = (settings: Partial<typeof DEFAULT_SETTINGS> = {}) =>
  play([{ type: "settings", settings: { ...DEFAULT_SETTINGS, ...settings } }, ...DIAL]).state
const ANSWERING = [created("r1"), item("r1", "a1"), words("r1", "a1", "Hello there."), sound("r1", "a1", 1000)]

describe("a call", () => {
  test("asks for the microphone, then connects, then sends its settings and sound", () => {
    const { state, effects } = play([...DIAL, { type: "mic-sound", audio: audioOf(40), ms: 40, atMs: 40 }])
    expect(types(effects)).toEqual([
      "clear-recording",
      "open-mic",
      "open-socket",
      "session.update",
      "input_audio_buffer.append",
    ])
    expect(statusOf(state)).toBe("listening")
  })

  test("tells how long the first sound took, from the end of speech in the sound that was sent", () => {
    const { state } = play(
      [
        { type: "mic-sound", audio: audioOf(1000), ms: 1000, atMs: 5000 },
        server({ type: "input_audio_buffer.speech_started", audio_start_ms: 0, item_id: "u1" }, 4500),
        server({ type: "input_audio_buffer.speech_stopped", audio_end_ms: 500, item_id: "u1" }, 5050),
        ...ANSWERING,
        { type: "sound-started", itemId: "a1", atMs: 5300 },
        done("r1"),
        server({ type: "omni.response.timing", response_id: "r1", real_time_factor: 0.4 }),
      ],
      live(),
    )
    expect(state.timings).toEqual([{ responseId: "r1", firstSoundMs: 800, realTimeFactor: 0.4 }])
  })

  test("barge-in by voice stops the loudspeaker, then cuts the answer to what was heard", () => {
    const started = server({ type: "input_audio_buffer.speech_started", audio_start_ms: 0, item_id: "u2" })
    const { state, effects } = play([...ANSWERING, started, sound("r1", "a1", 500)], live())
    expect(types(effects)).toEqual(["play", "flush"])
    expect(statusOf(state)).toBe("hearing")
    const cut = play([{ type: "flushed", itemId: "a1", playedMs: 333.4 }, done("r1", "cancelled")], state)
    expect(sent(cut.effects)).toEqual([
      { type: "conversation.item.truncate", item_id: "a1", content_index: 0, audio_end_ms: 333 },
    ])
    const heard = {
      id: "a1",
      type: "message",
      role: "assistant",
      content: [{ type: "output_audio", transcript: "Hello" }],
    }
    const told = play([server({ type: "conversation.item.retrieved", item: heard })], cut.state)
    expect(told.state.lines.find(({ id }) => id === "a1")).toEqual({
      id: "a1",
      role: "assistant",
      text: "Hello",
      state: "cut",
    })
  })

  test("barge-in by button cancels first, and what is asked next waits for the cut", () => {
    const { state, effects } = play(
      [...ANSWERING, { type: "interrupt" }, { type: "say", text: " And now? ", atMs: 1 }],
      live(),
    )
    expect(types(effects)).toEqual(["play", "response.cancel", "flush"])
    const { effects: after } = play([{ type: "flushed", itemId: "a1", playedMs: 2000 }], state)
    expect(types(after)).toEqual(["conversation.item.truncate", "conversation.item.create", "response.create"])
    expect(sent(after)[0]).toMatchObject({ audio_end_ms: 1000 }) // never more than came
  })

  test("muting in the middle of a word ends the turn: a little silence follows, then nothing", () => {
    const chunk = (atMs: number): CallEvent => ({ type: "mic-sound", audio: audioOf(500), ms: 500, atMs })
    const story = [{ type: "mute", on: true } as const, ...[1, 2, 3, 4, 5].map(chunk)]
    const { state, effects } = play([chunk(0), ...story], live())
    expect(types(effects)).toEqual(Array(4).fill("input_audio_buffer.append"))
    expect(types(play([{ type: "mute", on: false }, chunk(9)], state).effects)).toEqual(["input_audio_buffer.append"])
  })

  test("an interrupted answer has a real-time factor as well: how fast its sound came", () => {
    const story: CallEvent[] = [
      server({ type: "response.created", response: { id: "r1" } }, 1000),
      item("r1", "a1"),
      server({ type: "response.output_audio.delta", ...inPart("r1", "a1"), delta: audioOf(500) }, 1300),
      { type: "sound-started", itemId: "a1", atMs: 1300 },
      server({ type: "response.output_audio.delta", ...inPart("r1", "a1"), delta: audioOf(1500) }, 1800),
      { type: "interrupt" },
      { type: "flushed", itemId: "a1", playedMs: 100 },
      done("r1", "cancelled"),
    ]
    expect(play(story, live()).state.timings).toMatchObject([{ responseId: "r1", realTimeFactor: 0.4 }])
  })

  test("push-to-talk sends only what is held, and answers when it is let go", () => {
    const push = live({ turns: "push" })
    const chunk: CallEvent = { type: "mic-sound", audio: audioOf(100), ms: 100, atMs: 0 }
    const story: CallEvent[] = [chunk, { type: "talk-down" }, chunk, chunk, { type: "talk-up", atMs: 9 }, chunk]
    expect(types(play(story, push).effects)).toEqual([
      "input_audio_buffer.clear",
      "input_audio_buffer.append",
      "input_audio_buffer.append",
      "input_audio_buffer.commit",
      "response.create",
    ])
    const slip = play([{ type: "talk-down" }, chunk, { type: "talk-up", atMs: 9 }], push)
    expect(types(slip.effects).at(-1)).toBe("input_audio_buffer.clear")
    expect(slip.state.notice).toBe("talk-too-short")
  })

  test("a full server lets the call wait in line, and says how long that is", () => {
    const place = (type: string, position: number) => server({ type, position, length: 3 })
    const waiting = play([...DIAL.slice(0, 2), place("session.queued", 2), place("session.queue_update", 1)])
    expect([statusOf(waiting.state), waiting.state.queue?.position]).toEqual(["queued", 1])
    const { state } = play([server({ type: "session.created" })], waiting.state)
    expect([statusOf(state), state.queue]).toEqual(["listening", undefined])
    expect(play([{ type: "hang-up" }], waiting.state).state.queue).toBeUndefined()
  })

  test("a lost connection is dialled again, later each time, and told what was said", () => {
    const { state, effects } = play(
      [
        { type: "say", text: "Remember 7.", atMs: 0 },
        ...ANSWERING,
        done("r1"),
        { type: "socket-closed", cause: "dropped" },
        { type: "retry" },
        { type: "socket-closed", cause: "away" },
        { type: "retry" },
        server({ type: "session.created" }),
      ],
      live(),
    )
    const delays = effects.flatMap((effect) => (effect.do === "retry-after" ? [effect.delayMs] : []))
    expect(delays).toEqual([retryDelayMs(0), retryDelayMs(1)])
    expect(state).toMatchObject({ phase: "live", attempt: 0, notice: undefined })
    const restored = sent(effects).slice(-2)
    expect(restored).toMatchObject([
      { item: { role: "user", content: [{ text: "Remember 7." }] } },
      { item: { role: "assistant", content: [{ type: "output_text", text: "Hello there." }] } },
    ])
  })

  test("says why it ended", () => {
    const refused = play([DIAL[0]!, { type: "mic-failed", reason: "refused" }])
    expect(refused.state).toMatchObject({ phase: "idle", notice: "mic-refused" })
    expect(types(refused.effects)).not.toContain("open-socket")
    const causes = { away: "server-away", full: "server-full", locked: "key-needed", idle: "idle-ended" } as const
    for (const [cause, notice] of Object.entries(causes)) {
      const { state } = play([...DIAL, { type: "socket-closed", cause: cause as keyof typeof causes }])
      expect(state.notice).toBe(notice)
    }
    const late = play([...ANSWERING, { type: "settings", settings: { ...DEFAULT_SETTINGS, voice: "b" } }], live())
    expect(late.state.notice).toBe("voice-next-call")
    const refusal = {
      type: "error",
      error: { type: "x", code: "invalid_value", message: "", param: null, event_id: "settings" },
    }
    expect(play([server(refusal)], live()).state.notice).toBe("settings-refused")
  })
})

const ids = fc.constantFrom("a1", "a2", "a3")
const responses = fc.constantFrom("r1", "r2")
const settings = fc
  .record({ turns: fc.constantFrom("push" as const, "hands-free" as const), voice: fc.constantFrom("a", "b") })
  .map((some): CallEvent => ({ type: "settings", settings: { ...DEFAULT_SETTINGS, ...some } }))
const anything: fc.Arbitrary<CallEvent> = fc.oneof(
  fc.constantFrom<CallEvent>(
    ...DIAL,
    { type: "hang-up" },
    { type: "mic-failed", reason: "refused" },
    { type: "retry" },
    { type: "interrupt" },
    { type: "talk-down" },
    { type: "talk-up", atMs: 5 },
    { type: "mute", on: true },
    { type: "mute", on: false },
    { type: "say", text: "x", atMs: 3 },
    { type: "frame", image: "x" },
    { type: "dismiss" },
    { type: "clear" },
  ),
  settings,
  fc
    .constantFrom("away", "full", "locked", "expired", "idle", "dropped")
    .map((cause) => ({ type: "socket-closed", cause }) as const),
  fc.nat(400).map((ms): CallEvent => ({ type: "mic-sound", audio: "", ms, atMs: ms })),
  fc.tuple(ids, fc.nat(3000)).map(([itemId, playedMs]): CallEvent => ({ type: "played", itemId, playedMs })),
  fc.tuple(ids, fc.nat(3000)).map(([itemId, playedMs]): CallEvent => ({ type: "flushed", itemId, playedMs })),
  ids.map((itemId): CallEvent => ({ type: "sound-started", itemId, atMs: 9 })),
  responses.map(created),
  fc.tuple(responses, fc.constantFrom("completed", "cancelled", "failed")).map(([id, status]) => done(id, status)),
  fc.tuple(responses, ids).map(([response, id]) => item(response, id)),
  fc.tuple(responses, ids, fc.nat(50)).map(([response, id, ms]) => sound(response, id, ms * 10)),
  fc.tuple(responses, ids).map(([response, id]) => words(response, id, "w ")),
  ids.map((id) => server({ type: "input_audio_buffer.speech_started", audio_start_ms: 0, item_id: `u${id}` })),
  ids.map((id) => server({ type: "input_audio_buffer.speech_stopped", audio_end_ms: 9, item_id: `u${id}` })),
)

test("whatever happens, devices and sockets are opened and closed in pairs and nothing is sent outside a call", () => {
  fc.assert(
    fc.property(fc.boolean(), fc.array(anything, { maxLength: 80 }), (dialled, random) => {
      const events = dialled ? [...DIAL, ...ANSWERING, ...random] : random
      let state = IDLE
      let [mic, socket, timer] = [false, false, false]
      const received = new Set<string>()
      for (const event of events) {
        // The world: sockets and timers report only while they exist.
        if (event.type === "socket-closed" && !socket) continue
        if (event.type === "server" && !socket) continue
        if (event.type === "retry" && !timer) continue
        if (event.type === "socket-closed") socket = false
        if (event.type === "retry") timer = false
        if (event.type === "server" && event.event.type === "session.created" && state.phase !== "connecting") continue
        const before = state.phase
        const [next, effects] = callStep(state, event)
        for (const effect of effects) {
          if (effect.do === "open-mic") {
            expect(mic).toBe(false)
            mic = true
          } else if (effect.do === "close-mic") {
            expect(mic).toBe(true)
            mic = false
          } else if (effect.do === "open-socket") {
            expect([mic, socket]).toEqual([true, false])
            socket = true
          } else if (effect.do === "close-socket") {
            expect(socket).toBe(true)
            socket = false
          } else if (effect.do === "retry-after") {
            expect([socket, timer]).toEqual([false, false])
            timer = true
          } else if (effect.do === "cancel-retry") timer = false
          else if (effect.do === "play") {
            received.add(effect.itemId)
            expect(state.silenced).not.toContain(effect.itemId)
          } else if (effect.do === "send") {
            expect(next.phase).toBe("live")
            if (effect.event.type === "conversation.item.truncate") {
              expect(received.has(effect.event.item_id)).toBe(true)
              expect(Number.isInteger(effect.event.audio_end_ms)).toBe(true)
              expect(effect.event.audio_end_ms).toBeLessThanOrEqual(state.flushing?.receivedMs ?? -1)
            }
          }
        }
        state = next
        expect(mic).toBe(state.phase !== "idle")
        expect(socket).toBe(state.phase === "connecting" || state.phase === "live")
        expect(timer).toBe(state.phase === "retrying")
        if (before !== "idle" && state.phase === "idle" && state.answer) throw new Error("an answer outlived its call")
        expect(state.afterFlush.length === 0 || state.flushing !== undefined).toBe(true)
      }
    }),
    { numRuns: 400 },
  )
})

test("delays grow to a limit", () => {
  fc.assert(
    fc.property(fc.nat(2000), (attempt) => {
      expect(retryDelayMs(attempt + 1)).toBeGreaterThanOrEqual(retryDelayMs(attempt))
      expect(retryDelayMs(attempt)).toBeLessThanOrEqual(5000)
    }),
  )
})
