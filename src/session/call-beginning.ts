/**
 * @file What a call began with, as its saved state says it: what the model has read cannot become something else later, the
 * rest goes on unless other options are given.
 */
import { ConfigError, exactJson } from "../util/index.ts"
import { sumOf } from "./snapshot.ts"
import type { CallOptions, Sound } from "./types.ts"

/** Plain data. Tools are text, so that nothing in them is taken for arrays. */
export type Beginning = Required<Pick<CallOptions, "mode" | "language" | "behaviour">> & {
  readonly perceive: NonNullable<CallOptions["perceive"]> | null
  readonly tools: string
  readonly instructions: string | null
  /** Tells recordings apart. */
  readonly voice: string | null
}

export function beginningOf({
  mode = "audio_assistant",
  language = "en",
  behaviour = "live",
  perceive,
  tools = [],
  instructions,
  voice,
}: CallOptions): Beginning {
  return {
    ...{ mode, language, behaviour },
    perceive: perceive ?? null,
    tools: JSON.stringify(tools),
    instructions: instructions ?? null,
    voice: voice ? nameOf(voice) : null,
  }
}

function nameOf({ pcm, sampleRateHz }: Sound): string {
  const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength)
  return `${pcm.length} samples at ${sampleRateHz} Hz, ${sumOf(bytes).toString(16)}`
}

/**
 * The options of a call that goes on: those given, and where nothing is given those it began with.
 * @throws ConfigError for another mode, language, voice, other instructions or tools than the model has read
 */
export function goingOn(options: CallOptions, began: Beginning): CallOptions {
  const now = beginningOf(options)
  for (const name of ["mode", "language", "voice", "instructions", "tools"] as const) {
    if (options[name] === undefined || now[name] === began[name]) continue
    const shown = name === "mode" || name === "language"
    const [was, got] = shown ? [began[name], now[name]] : ["what the saved call began with", "something else"]
    throw new ConfigError(`${name}: expected ${was}, as the saved call has read it, got ${got} (leave ${name} out)`)
  }
  const { mode, language } = began
  const tools = exactJson(began.tools) as NonNullable<CallOptions["tools"]>
  const perceive = options.perceive ?? began.perceive
  return {
    ...options,
    ...{ mode, language, tools },
    behaviour: options.behaviour ?? began.behaviour,
    ...(perceive === null ? {} : { perceive }),
  }
}
