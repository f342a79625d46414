/** @file What goes into a call: its options checked, its first message, and what was heard as content of messages. */
import { checkFinite, concatPcm, resample, resampleSteps } from "../audio/index.ts"
import type { RgbImage } from "../image/index.ts"
import { type ContentItem, type Message, systemMessage, toolItems, type VisionEncoder } from "../inference/index.ts"
import { ConfigError, InputError } from "../util/index.ts"
import { checkAnswer } from "./answer-options.ts"
import type { CallParts } from "./call.ts"
import type { Room } from "./conversation-state.ts"
import { type Heard, UNIT_SAMPLES } from "./ears.ts"
import type { OmniModel } from "./model.ts"
import { checkTextSize } from "./text-size.ts"
import { turnDetectorOf } from "./turn-gate.ts"
import type { CallEvent, CallOptions, Sound } from "./types.ts"

/** @throws ConfigError for a model without eyes, InputError for a picture whose size it cannot see */
export function checkFrame(vision: VisionEncoder | undefined, frame: RgbImage, lastFrameSlices: number): void {
  if (!vision) throw new ConfigError("call.push: frame: expected a model that sees, got one without a vision tower")
  for (const maxSliceNums of [1, lastFrameSlices]) vision.checkSize(frame, { maxSliceNums })
}

/**
 * A unit's content: its frame comes before its sound. Sound alone has no unit mark.
 * @param fewest samples that can be encoded; less is padded with silence to that
 */
export function contentOf({ pcm, frame, text }: Heard, fewest: number) {
  const padding = pcm && pcm.length < fewest ? [new Float32Array(fewest - pcm.length)] : []
  return [
    ...(frame ? ["<unit>", { image: frame }] : []),
    ...(pcm ? [{ audio: concatPcm([pcm, ...padding]) }] : []),
    ...(text === undefined ? [] : [{ plain: text }]),
  ]
}

/** Sound as units of one second, the last one shorter. @throws InputError for sound that is not finite */
export function* unitsOf({ pcm, sampleRateHz }: Sound): Generator<undefined, Float32Array[], void> {
  checkFinite(pcm, "call.append")
  const heard = yield* resampleSteps(pcm, sampleRateHz, UNIT_SAMPLES)
  return Array.from({ length: Math.ceil(heard.length / UNIT_SAMPLES) }, (_, i) =>
    heard.slice(i * UNIT_SAMPLES, (i + 1) * UNIT_SAMPLES),
  )
}

/** The first message. Instructions take the place of the sentence about behaviour; those of `omni` follow it. */
export function systemOf(model: OmniModel, options: CallOptions): Message {
  const { mode = "audio_assistant", language = "en", instructions, voice, tools = [] } = options
  const pcm = voice && resample(voice.pcm, voice.sampleRateHz, UNIT_SAMPLES)
  const message = systemMessage(mode, language, pcm)
  const omniInput = mode === "omni"
  let items = [...(message.content as readonly ContentItem[])]
  if (instructions !== undefined) {
    const text = { plain: omniInput ? `\n${instructions}` : instructions }
    items = [...(omniInput ? items : items.slice(0, -1)), text]
  }
  // The texts of the audio modes stand on lines of their own; what tools add is joined with nothing.
  if (!omniInput) items = items.flatMap((item, i) => (i === 0 ? [item] : ["\n", item]))
  return { ...message, content: [...items, ...toolItems(model.prompts, tools)] }
}

export function checkCall({ model, vad }: CallParts, options: CallOptions): void {
  const { voice, contextPositions, lastFrameSlices, mode, language, turns, perceive } = options
  checkAnswer(options)
  const within = (name: string, value: number | undefined, least: number, most: number) => {
    if (value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most)) return
    throw new InputError(`${name}: expected a whole number from ${least} to ${most}, got ${value}`)
  }
  within("contextPositions", contextPositions, 256, model.language.config.maxPositionEmbeddings)
  within("lastFrameSlices", lastFrameSlices, 1, 9)
  const among = (name: string, value: string | undefined, allowed: readonly string[]) => {
    if (value === undefined || allowed.includes(value)) return
    throw new InputError(`${name}: expected ${allowed.join(", ")}, got ${value}`)
  }
  among("mode", mode, ["omni", "audio_assistant", "audio_roleplay", "default"])
  among("language", language, ["en", "zh"])
  among("perceive", perceive, ["always", "speech"])
  checkTextSize("instructions", [options.instructions], model.language.config.maxPositionEmbeddings)
  if (turns) turnDetectorOf(turns)
  if (turns && !vad) throw new ConfigError("turns: expected a model for voice activity, got none (leave turns out)")
  if (!voice) return
  if (mode === "default")
    throw new ConfigError(
      "voice: expected a mode that has a voice, got default (take another mode, or leave voice out)",
    )
  const seconds = voice.pcm.length / voice.sampleRateHz
  if (!(seconds >= 0.5 && seconds <= 30)) {
    throw new InputError(`voice: expected 0.5 to 30 seconds of speech, got ${seconds.toFixed(2)} (cut the recording)`)
  }
  checkFinite(voice.pcm, "voice")
}

/** Whether an error is about what was to be read: the same again would come of it another time. */
export function isUnreadable(error: unknown): error is InputError | ConfigError {
  return error instanceof InputError || error instanceof ConfigError
}

/** The official demo starts anew at this length; here it is where forgetting begins. */
const DEFAULT_CONTEXT = 8192
/** Share of the context that is left after forgetting. */
const KEPT_SHARE = 0.75

/** How much a call may remember. @param report hears what was forgotten */
export function roomOf(
  { contextPositions = DEFAULT_CONTEXT }: CallOptions,
  { language }: OmniModel,
  report: (event: CallEvent) => void,
): Room {
  const limit = Math.min(contextPositions, language.config.maxPositionEmbeddings)
  return {
    limit,
    target: Math.floor(limit * KEPT_SHARE),
    report: ({ droppedPositions, droppedUnits, droppedTurns, positions }) =>
      report({ type: "context-compacted", droppedPositions, droppedUnits, droppedTurns, positions }),
  }
}
