import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { parseClientEvent, parseServerEvent, printEvent, RealtimeInputError } from "./realtime.ts"
import { eventToBeta } from "./realtime-beta.ts"
import { clientEventSchema } from "./realtime-client.ts"
import { serverEventSchema } from "./realtime-server.ts"
import { valuesOf } from "./schema.test-util.ts"

const nameOf = (option: { shape: { type: { value: string } } }) => option.shape.type.value
const failure = (frame: string): RealtimeInputError => {
  try {
    parseClientEvent(frame)
  } catch (error) {
    if (error instanceof RealtimeInputError) return error
    throw error
  }
  throw new Error("expected an error")
}

describe("printed events read back", () => {
  test.each(clientEventSchema.options.map((option) => [nameOf(option), option] as const))("%s", (_name, option) => {
    fc.assert(
      fc.property(valuesOf(option), (value) => {
        const event = value as Parameters<typeof printEvent>[0]
        expect(parseClientEvent(printEvent(event))).toEqual(event)
      }),
      { numRuns: 40 },
    )
  })
  test.each(serverEventSchema.options.map((option) => [nameOf(option), option] as const))("%s", (_name, option) => {
    fc.assert(
      fc.property(valuesOf(option), (value) => {
        const event = value as Parameters<typeof printEvent>[0]
        expect(parseServerEvent(printEvent(event))).toEqual(event)
      }),
      { numRuns: 40 },
    )
  })
})

test("any text is an event or an error that says what it is", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (frame) => {
      expect(failure(frame).wireCode).toBe("invalid_event")
      expect(failure(frame).message).toMatch(/^realtime: expected .+, got .+/)
    }),
  )
})

test("a wrong field is named, its value is not shown, and the client's id comes back", () => {
  const error = failure('{"type":"input_audio_buffer.append","event_id":"mine","audio":{"secret":1}}')
  expect(error).toMatchObject({ wireCode: "invalid_value", param: "audio", clientEventId: "mine" })
  expect(error.message).toBe(
    "realtime: input_audio_buffer.append: audio: Invalid input: expected string, received object",
  )
})

test("a client ignores events that it does not know", () => {
  expect(parseServerEvent('{"type":"response.something_new","event_id":"e"}')).toBeUndefined()
})

test("beta fields of a session are read as GA fields", () => {
  const session = {
    modalities: ["text", "audio"],
    voice: "alloy",
    input_audio_format: "g711_ulaw",
    output_audio_format: "pcm16",
    input_audio_transcription: { model: "whisper-1" },
    turn_detection: null,
    max_response_output_tokens: 7,
    temperature: 0.8,
  }
  expect(parseClientEvent(JSON.stringify({ type: "session.update", session }))).toEqual({
    type: "session.update",
    session: {
      output_modalities: ["audio"],
      max_output_tokens: 7,
      audio: {
        input: { format: { type: "audio/pcmu" }, transcription: { model: "whisper-1" }, turn_detection: null },
        output: { voice: "alloy", format: { type: "audio/pcm", rate: 24000 } },
      },
    },
  })
})

test("events in the beta dialect have the old names and one event per created item", () => {
  const item = { id: "i", type: "message", role: "assistant", content: [{ type: "output_audio", transcript: "" }] }
  expect(eventToBeta({ type: "conversation.item.done", item })).toBeUndefined()
  expect(eventToBeta({ type: "conversation.item.added", item })).toMatchObject({
    type: "conversation.item.created",
    item: { content: [{ type: "audio" }] },
  })
  const named = (type: string) => eventToBeta({ type })?.type
  expect(named("response.output_audio.delta")).toBe("response.audio.delta")
  expect(named("response.output_audio_transcript.done")).toBe("response.audio_transcript.done")
  expect(named("response.output_text.delta")).toBe("response.text.delta")
})
