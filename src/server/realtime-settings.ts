/** @file A Realtime session's settings: their defaults, the rules of `session.update`, and what they ask of the engine. */
import {
  type RealtimeExtension,
  RealtimeInputError,
  type RealtimeSessionObject,
  type RealtimeSessionUpdate,
  type RealtimeTurnDetection,
} from "../protocol/index.ts"
import type { CallOptions, Sound, Tool, TurnOptions } from "../session/index.ts"
import { rateOf } from "./realtime-audio.ts"

/** The settings that a session starts with. */
export function defaultSession(
  id: string,
  model: string,
  type: RealtimeSessionObject["type"],
  expiresAt: number,
): RealtimeSessionObject {
  const format = { type: "audio/pcm", rate: 24000 } as const
  return {
    id,
    object: "realtime.session",
    type,
    model,
    expires_at: expiresAt,
    output_modalities: ["audio"],
    instructions: "",
    audio: {
      input: {
        format,
        transcription: type === "transcription" ? {} : null,
        noise_reduction: null,
        turn_detection: completeTurns({ type: "server_vad" }),
      },
      output: { format, voice: "default", speed: 1 },
    },
    tools: [],
    tool_choice: "auto",
    max_output_tokens: "inf",
    truncation: "auto",
    tracing: null,
    prompt: null,
    include: null,
    extensions: [],
  }
}

function completeTurns(turns: RealtimeTurnDetection): RealtimeTurnDetection {
  const replies = { create_response: true, interrupt_response: true }
  if (turns.type === "semantic_vad") return { eagerness: "auto", ...replies, ...turns }
  const { threshold = 0.5, prefix_padding_ms = 300, silence_duration_ms = 500, idle_timeout_ms = null, ...rest } = turns
  return { ...replies, ...rest, threshold, prefix_padding_ms, silence_duration_ms, idle_timeout_ms }
}

/**
 * The settings after an update: fields that are present replace, null clears.
 * @param spoken whether the session has produced sound, which freezes its voice
 * @returns the settings, and the fields that this server does not honour
 * @throws RealtimeInputError for what cannot change; nothing has changed then
 */
export function mergeSession(
  now: RealtimeSessionObject,
  update: RealtimeSessionUpdate,
  spoken: boolean,
): { session: RealtimeSessionObject; ignored: string[] } {
  const fixed = (field: string, kept: string) =>
    new RealtimeInputError(
      "invalid_value",
      `realtime: session.${field}: expected "${kept}", which cannot change now, got another value (open a new session)`,
      `session.${field}`,
      null,
    )
  if (update.type !== undefined && update.type !== now.type) throw fixed("type", now.type)
  const { input = {}, output = {} } = update.audio ?? {}
  const voice = output.voice ?? now.audio.output.voice
  if (spoken && JSON.stringify(voice) !== JSON.stringify(now.audio.output.voice)) {
    const kept = now.audio.output.voice
    throw fixed("audio.output.voice", typeof kept === "string" ? kept : kept.id)
  }
  if (output.format?.type === "audio/pcm" && output.format.rate === 16000)
    throw fixed("audio.output.format.rate", "24000")
  const ignored: string[] = []
  // Stock clients send the model of their defaults with every update; the one that is loaded answers.
  if (update.model !== undefined && update.model !== now.model) ignored.push("model")
  if (input.noise_reduction) ignored.push("audio.input.noise_reduction")
  if (output.speed !== undefined && output.speed !== 1) ignored.push("audio.output.speed")
  for (const field of ["tracing", "include"] as const) if (update[field]) ignored.push(field)
  // Answers without the stored prompt would only look right.
  if (update.prompt) throw fixed("prompt", "null")
  if (update.truncation !== undefined && update.truncation !== "auto") ignored.push("truncation")
  const turns = input.turn_detection
  const session: RealtimeSessionObject = {
    ...now,
    output_modalities: update.output_modalities ?? now.output_modalities,
    instructions: update.instructions === undefined ? now.instructions : (update.instructions ?? ""),
    audio: {
      input: {
        ...now.audio.input,
        format: input.format ?? now.audio.input.format,
        transcription: input.transcription === undefined ? now.audio.input.transcription : input.transcription,
        turn_detection:
          turns === undefined ? now.audio.input.turn_detection : turns === null ? null : completeTurns(turns),
      },
      output: { format: output.format ?? now.audio.output.format, voice, speed: 1 },
    },
    tools: update.tools === undefined ? now.tools : (update.tools ?? []),
    tool_choice: update.tool_choice ?? now.tool_choice,
    max_output_tokens: update.max_output_tokens ?? now.max_output_tokens,
    extensions: update.extensions === undefined ? now.extensions : [...new Set(update.extensions ?? [])],
  }
  return { session, ignored }
}

// Our mapping of eagerness to the silence that ends a turn: the engine has no dearer judgement of endings yet.
const EAGERNESS_SILENCE_MS = { low: 1500, medium: 800, auto: 800, high: 400 } as const

function turnOptions(turns: RealtimeTurnDetection): TurnOptions {
  if (turns.type === "semantic_vad") return { silenceMs: EAGERNESS_SILENCE_MS[turns.eagerness ?? "auto"] }
  return {
    threshold: turns.threshold ?? 0.5,
    preRollMs: turns.prefix_padding_ms ?? 300,
    silenceMs: turns.silence_duration_ms ?? 500,
    ...(turns.idle_timeout_ms ? { idleMs: turns.idle_timeout_ms } : {}),
  }
}

/** Function tools as the engine takes them. */
export function toolsOf(tools: RealtimeSessionObject["tools"]): Tool[] {
  return tools.map(({ name, description, parameters }) => ({
    name,
    ...(description === undefined ? {} : { description }),
    ...(parameters === undefined ? {} : { parameters }),
  }))
}

export const hasExtension = (session: RealtimeSessionObject, name: RealtimeExtension) =>
  session.extensions.includes(name)

/** The call that a session needs. */
export function callOptions(session: RealtimeSessionObject, voice: Sound | undefined): CallOptions {
  const turns = session.audio.input.turn_detection
  return {
    mode: hasExtension(session, "omni.video") ? "omni" : "audio_assistant",
    sampleRateHz: rateOf(session.audio.input.format),
    ...(session.instructions === "" ? {} : { instructions: session.instructions }),
    ...(voice === undefined ? {} : { voice }),
    ...(turns === null ? {} : { turns: turnOptions(turns) }),
    ...(session.tools.length === 0 ? {} : { tools: toolsOf(session.tools) }),
  }
}
