/**
 * @file Reading and writing events of the Realtime API. Everything that a socket carries passes through here; clients use
 * `parseServerEvent`, servers `parseClientEvent`. Text frames hold one JSON object each.
 */
import { exactJson, InputError } from "../util/index.ts"
import { ignoredFields } from "./ignored-fields.ts"
import { sessionFromBeta } from "./realtime-beta.ts"
import { clientEventSchema, type RealtimeClientEvent } from "./realtime-client.ts"
import { type RealtimeServerEvent, serverEventSchema } from "./realtime-server.ts"

/** A frame that is no event: the protocol's error code, the field, and the client's id of the event if it had one. */
export class RealtimeInputError extends InputError {
  readonly wireCode: string
  readonly param: string | null
  readonly clientEventId: string | null
  constructor(wireCode: string, message: string, param: string | null, clientEventId: string | null) {
    super(message)
    this.wireCode = wireCode
    this.param = param
    this.clientEventId = clientEventId
  }
}

const CLIENT_TYPES = new Set<string>(clientEventSchema.options.map((option) => option.shape.type.value))
const SERVER_TYPES = new Set<string>(serverEventSchema.options.map((option) => option.shape.type.value))

function readFrame(frame: string): Record<string, unknown> {
  let value: unknown
  try {
    value = exactJson(frame)
  } catch {
    throw new RealtimeInputError(
      "invalid_event",
      "realtime: expected one JSON object per frame, got no JSON",
      null,
      null,
    )
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new RealtimeInputError("invalid_event", "realtime: expected a JSON object, got another value", null, null)
  return value as Record<string, unknown>
}

/**
 * One frame from a client, beta spellings accepted.
 * @param onIgnored gets the names of fields that are unknown here and were dropped
 * @throws RealtimeInputError `invalid_event` for what is no event, `invalid_value` for a wrong field
 */
export function parseClientEvent(frame: string, onIgnored?: (fields: readonly string[]) => void): RealtimeClientEvent {
  const value = readFrame(frame)
  const id = typeof value.event_id === "string" && value.event_id.length <= 512 ? value.event_id : null
  if (typeof value.type !== "string" || !CLIENT_TYPES.has(value.type)) {
    const got = typeof value.type === "string" ? `"${value.type.slice(0, 64)}"` : "none"
    throw new RealtimeInputError("invalid_event", `realtime: expected a known event type, got ${got}`, "type", id)
  }
  if (value.type === "session.update") value.session = sessionFromBeta(value.session)
  if (value.type === "response.create" && value.response !== undefined) value.response = sessionFromBeta(value.response)
  if (value.type === "conversation.item.create") value.item = itemFromBeta(value.item)
  const parsed = clientEventSchema.safeParse(value)
  if (parsed.success) {
    const ignored = onIgnored ? ignoredFields(value, parsed.data) : []
    if (ignored.length > 0) onIgnored?.(ignored)
    return parsed.data
  }
  const issue = parsed.error.issues[0]!
  const param = issue.path.join(".") || null
  // zod's messages name expectations and types, never the values
  throw new RealtimeInputError(
    "invalid_value",
    `realtime: ${value.type}: ${param ?? "event"}: ${issue.message}`,
    param,
    id,
  )
}

/** Assistant parts were called `text` and `audio`. */
function itemFromBeta(item: unknown): unknown {
  if (typeof item !== "object" || item === null || !("content" in item) || !Array.isArray(item.content)) return item
  const content = item.content.map((part: unknown) => {
    if (typeof part !== "object" || part === null || !("type" in part)) return part
    if (part.type === "text" || part.type === "audio") return { ...part, type: `output_${part.type}` }
    return part
  })
  return { ...item, content }
}

/**
 * One frame from a server (GA). Undefined for events that this version does not know: clients ignore them.
 * @throws RealtimeInputError for what is no event, or a known event with wrong fields
 */
export function parseServerEvent(frame: string): RealtimeServerEvent | undefined {
  const value = readFrame(frame)
  if (typeof value.type !== "string" || !SERVER_TYPES.has(value.type)) return undefined
  const parsed = serverEventSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]!
  const param = issue.path.join(".") || null
  throw new RealtimeInputError(
    "invalid_value",
    `realtime: ${value.type}: ${param ?? "event"}: ${issue.message}`,
    param,
    null,
  )
}

/** The frame of an event. */
export function printEvent(event: RealtimeClientEvent | RealtimeServerEvent): string {
  return JSON.stringify(event)
}
