/**
 * @file The beta dialect of the Realtime API: old session fields to new ones, new event names to old ones. Values that
 * are not objects or have unknown names stay as they are, for the schemas to judge.
 */

type Fields = Record<string, unknown>
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const FORMATS: Readonly<Record<string, Fields>> = {
  pcm16: { type: "audio/pcm", rate: 24000 },
  g711_ulaw: { type: "audio/pcmu" },
  g711_alaw: { type: "audio/pcma" },
}
const format = (value: unknown) => (typeof value === "string" ? (FORMATS[value] ?? value) : value)

/** Old name, then where it lives now. */
const MOVED: readonly (readonly [string, "input" | "output", string])[] = [
  ["voice", "output", "voice"],
  ["speed", "output", "speed"],
  ["output_audio_format", "output", "format"],
  ["input_audio_format", "input", "format"],
  ["input_audio_transcription", "input", "transcription"],
  ["turn_detection", "input", "turn_detection"],
  ["input_audio_noise_reduction", "input", "noise_reduction"],
]

/** Session or response fields in either dialect, as GA fields. */
export function sessionFromBeta(value: unknown): unknown {
  if (!isFields(value)) return value
  const { modalities, max_response_output_tokens, temperature: _removed, ...session } = value
  if (Array.isArray(modalities) && session.output_modalities === undefined)
    session.output_modalities = modalities.includes("audio") ? ["audio"] : ["text"]
  if (max_response_output_tokens !== undefined && session.max_output_tokens === undefined)
    session.max_output_tokens = max_response_output_tokens
  for (const [old, side, name] of MOVED) {
    if (!(old in session)) continue
    const moved = session[old]
    delete session[old]
    const audio = isFields(session.audio) ? session.audio : {}
    const fields = isFields(audio[side]) ? audio[side] : {}
    session.audio = { ...audio, [side]: { [name]: name === "format" ? format(moved) : moved, ...fields } }
  }
  return session
}

const RENAMED: readonly (readonly [string, string])[] = [
  ["response.output_text.", "response.text."],
  ["response.output_audio_transcript.", "response.audio_transcript."],
  ["response.output_audio.", "response.audio."],
]
const OLD_FORMATS: Readonly<Record<string, string>> = {
  "audio/pcm": "pcm16",
  "audio/pcmu": "g711_ulaw",
  "audio/pcma": "g711_alaw",
}
const oldFormat = (value: unknown) => (isFields(value) ? (OLD_FORMATS[String(value.type)] ?? value) : value)
const oldModalities = (value: unknown) => (Array.isArray(value) && value[0] === "audio" ? ["text", "audio"] : value)

function sessionToBeta(session: Fields): Fields {
  const { audio, output_modalities, max_output_tokens, type: _new, ...rest } = session
  const input = isFields(audio) && isFields(audio.input) ? audio.input : {}
  const output = isFields(audio) && isFields(audio.output) ? audio.output : {}
  return {
    ...rest,
    modalities: oldModalities(output_modalities),
    voice: output.voice,
    speed: output.speed,
    input_audio_format: oldFormat(input.format),
    output_audio_format: oldFormat(output.format),
    input_audio_transcription: input.transcription,
    input_audio_noise_reduction: input.noise_reduction,
    turn_detection: input.turn_detection,
    max_response_output_tokens: max_output_tokens,
  }
}

function itemToBeta(item: unknown): unknown {
  if (!isFields(item) || !Array.isArray(item.content)) return item
  const content = item.content.map((part) =>
    isFields(part) ? { ...part, type: String(part.type).replace(/^output_/, "") } : part,
  )
  return { ...item, content }
}

function responseToBeta(response: Fields): Fields {
  const { audio, output_modalities, ...rest } = response
  const output = isFields(audio) && isFields(audio.output) ? audio.output : {}
  return {
    ...rest,
    modalities: oldModalities(output_modalities),
    voice: output.voice,
    output_audio_format: oldFormat(output.format),
    output: Array.isArray(response.output) ? response.output.map(itemToBeta) : response.output,
  }
}

/** A server event as beta clients know it; undefined for events that the beta does not have. */
export function eventToBeta(event: Fields): Fields | undefined {
  if (event.type === "conversation.item.done") return undefined // `created` has told it
  const copy: Fields = { ...event }
  if (event.type === "conversation.item.added") copy.type = "conversation.item.created"
  for (const [name, old] of RENAMED) {
    if (String(event.type).startsWith(name)) copy.type = old + String(event.type).slice(name.length)
  }
  if (isFields(event.session)) copy.session = sessionToBeta(event.session)
  if (isFields(event.response)) copy.response = responseToBeta(event.response)
  if (isFields(event.item)) copy.item = itemToBeta(event.item)
  return copy
}
