/**
 * @file A live call: sound, frames and text are read second by second while they come, answers are written and spoken, cut
 * to what was heard, and old turns are forgotten when the context fills. Every generator's `next()` is one step of work;
 * one that is abandoned leaves a valid state. Who calls must not run two of them at once; `push` and `clear` always may.
 */
import { minEncodableSamples, resample } from "../audio/index.ts"
import { checkSampling, DEFAULT_SAMPLING, type Message, systemMessage } from "../inference/index.ts"
import { InputError, inSteps, type Steps } from "../util/index.ts"
import { DEFAULT_CALL_TOKENS, writeAnswer } from "./answer.ts"
import { BEHAVIOURS, type BehaviourOptions } from "./behaviour.ts"
import { restoreCall, saveCall } from "./call-data.ts"
import { Conversation, type Room } from "./conversation.ts"
import { Ears, type Heard, UNIT_SAMPLES } from "./ears.ts"
import { type OmniModel, voiceOf } from "./model.ts"
import type {
  AnswerEvent,
  AnswerOptions,
  CallEvent,
  CallInput,
  CallOptions,
  CallSnapshot,
  Interruption,
  RespondOptions,
} from "./types.ts"
import type { VoiceCache } from "./voices.ts"

export type CallParts = {
  readonly model: OmniModel
  readonly voices: VoiceCache
  /** Milliseconds of any clock. */
  readonly now: () => number
}

/** Units that are read together when several wait. */
const UNITS_TOGETHER = 2
/** The official demo starts anew at this length; here it is where forgetting begins. */
const DEFAULT_CONTEXT = 8192
/** Share of the context that is left after forgetting. */
const KEPT_SHARE = 0.75
/** Slices of the last frame of a question, as in the official demo. */
const LAST_FRAME_SLICES = 6

export class Call {
  private readonly parts: CallParts
  private readonly options: CallOptions
  private readonly behaviour: BehaviourOptions
  private readonly conversation: Conversation
  private readonly ears: Ears
  private answers: number
  private readonly waitingEvents: CallEvent[] = []

  private constructor(
    parts: CallParts,
    options: CallOptions,
    state: { conversation: Conversation; ears: Ears; answers: number },
  ) {
    this.parts = parts
    this.options = options
    this.behaviour = BEHAVIOURS[options.behaviour ?? "live"]
    this.conversation = state.conversation
    this.ears = state.ears
    this.answers = state.answers
  }

  /**
   * A new call, its system prompt read, or one that goes on where a snapshot was taken.
   * @throws InputError naming the wrong option, or when the snapshot is of another model
   */
  static async *open(parts: CallParts, options: CallOptions, snapshot?: CallSnapshot): Steps<Call> {
    checkCall(parts.model, options)
    const rate = options.sampleRateHz ?? UNIT_SAMPLES
    if (snapshot) return new Call(parts, options, restoreCall(parts.model, snapshot, rate))
    const conversation = new Conversation(parts.model)
    const call = new Call(parts, options, { conversation, ears: new Ears(rate), answers: 0 })
    const { message, omniInput } = systemOf(options)
    const perception = parts.voices.remembering(parts.model.perception)
    yield* conversation.read([message], { omniInput, perception, room: call.room })
    return call
  }

  /** Takes input without reading it. @throws InputError for damaged input */
  push(input: CallInput): CallEvent[] {
    const droppedMs = this.ears.push(input)
    return droppedMs > 0 ? [{ type: "input-dropped", droppedMs }] : []
  }

  /** Reads what is complete: whole seconds and text. */
  async *perceive(): AsyncGenerator<CallEvent | undefined, void, void> {
    for (;;) {
      const heard = this.ears.peek(UNITS_TOGETHER)
      if (heard.length === 0) return
      yield* this.read(heard, 1)
      this.ears.take(heard.length)
    }
  }

  /** Adds a message that was not spoken now. */
  async *append(message: { readonly role: "user" | "assistant" | "tool"; readonly text: string }): Steps<void> {
    const { role, text } = message
    if (role === "assistant") return yield* this.conversation.readAnswer(text, this.room)
    const content = role === "tool" ? ["<tool_response>\n", { plain: text }, "\n</tool_response>"] : [{ plain: text }]
    yield* this.conversation.read([{ role: "user", content }], { room: this.room })
  }

  /**
   * Ends the user's turn and answers it.
   * @throws InputError for wrong options, ConfigError when the model cannot speak
   */
  async *respond(options: RespondOptions = {}): AsyncGenerator<AnswerEvent | CallEvent | undefined, void, void> {
    const { model, now } = this.parts
    const { speak = model.voice !== undefined } = options
    const merged: AnswerOptions = { ...withoutUndefined(this.options), ...withoutUndefined(options) }
    checkAnswer(merged)
    if (speak) voiceOf(model)
    const startMs = now()
    const cached = this.conversation.length
    yield* this.perceive()
    yield* this.readTail()
    if (options.instructions) {
      const message = { role: "user" as const, content: [{ plain: `\n${options.instructions}` }] }
      yield* inSteps(this.conversation.read([message], { room: this.room }))
    }
    const wished = merged.maxNewTokens ?? DEFAULT_CALL_TOKENS
    const reserve = Math.min(wished, Math.floor(this.room.limit / 4))
    this.conversation.makeRoom(reserve + 32, this.room)
    yield* this.waitingEvents.splice(0)
    const opened = yield* inSteps(this.conversation.open())
    const { piece, hidden, speaker, record } = opened
    const maxNewTokens = Math.min(wished, this.room.limit - this.conversation.length)
    const seed = (merged.seed ?? 0) + this.answers++
    try {
      yield* writeAnswer(
        model,
        {
          cache: this.conversation.cache,
          promptIds: piece.ids,
          hidden,
          ...(speak ? { speaker } : {}),
          options: { ...merged, maxNewTokens, seed, ...(options.stop ? { stop: options.stop } : {}) },
          behaviour: this.behaviour,
          prompt: {
            ...this.conversation.usage,
            positions: this.conversation.length,
            // Forgetting may have taken some of it.
            cached: Math.min(cached, this.conversation.length),
          },
          startMs,
          now,
        },
        record,
      )
    } finally {
      this.conversation.close()
    }
  }

  /** Cuts the latest answer to what was heard; everything delivered when no time is given. */
  interrupt(heardMs?: number): Interruption {
    if (heardMs !== undefined && !(Number.isFinite(heardMs) && heardMs >= 0)) {
      throw new InputError(`interrupt.heardMs: expected milliseconds ≥ 0, got ${heardMs}`)
    }
    return { text: this.conversation.cut(heardMs), heardMs: heardMs ?? 0 }
  }

  /** Forgets input that was not read. */
  clear(): void {
    this.ears.clear()
  }

  /** @throws never while no generator runs */
  snapshot(): CallSnapshot {
    const { model } = this.parts
    return saveCall(model, { conversation: this.conversation, ears: this.ears, answers: this.answers })
  }

  /** The rest of the turn; its last frame in full resolution. */
  private async *readTail(): AsyncGenerator<CallEvent | undefined, void, void> {
    const { lastFrameSlices = LAST_FRAME_SLICES } = this.options
    const { mel, poolStep } = this.parts.model.prompts.audio
    const tail = this.ears.tail(minEncodableSamples(poolStep, mel.hopLength), lastFrameSlices > 1)
    if (tail) yield* this.read([tail], lastFrameSlices)
    this.ears.endTurn()
  }

  private async *read(
    heard: readonly Heard[],
    maxSliceNums: number,
  ): AsyncGenerator<CallEvent | undefined, void, void> {
    const start = this.parts.now()
    const messages = heard.map((item) => ({ role: "user" as const, content: contentOf(item) }))
    yield* inSteps(this.conversation.read(messages, { omniInput: true, maxSliceNums, room: this.room }))
    yield* this.waitingEvents.splice(0)
    const samples = heard.reduce((sum, { pcm }) => sum + (pcm?.length ?? 0), 0)
    yield {
      type: "perceived",
      units: heard.length,
      audioMs: (samples / UNIT_SAMPLES) * 1000,
      workMs: this.parts.now() - start,
      positions: this.conversation.length,
    }
  }

  private get room(): Room {
    const { maxPositionEmbeddings } = this.parts.model.language.config
    const limit = Math.min(this.options.contextPositions ?? DEFAULT_CONTEXT, maxPositionEmbeddings)
    return {
      limit,
      target: Math.floor(limit * KEPT_SHARE),
      report: ({ droppedPositions, droppedUnits, droppedTurns, positions }) =>
        this.waitingEvents.push({ type: "context-compacted", droppedPositions, droppedUnits, droppedTurns, positions }),
    }
  }
}

/** A unit's content: its frame comes before its sound. Sound alone has no unit mark. */
function contentOf({ pcm, frame, text }: Heard): NonNullable<Message["content"]> {
  return [
    ...(frame ? ["<unit>", { image: frame }] : []),
    ...(pcm ? [{ audio: pcm }] : []),
    ...(text === undefined ? [] : [{ plain: text }]),
  ]
}

/** The first message. Instructions take the place of the sentence about behaviour; those of `omni` follow it. */
function systemOf(options: CallOptions): { message: Message; omniInput: boolean } {
  const { mode = "audio_assistant", language = "en", instructions, voice } = options
  const pcm = voice && resample(voice.pcm, voice.sampleRateHz, UNIT_SAMPLES)
  const message = systemMessage(mode, language, mode === "default" ? undefined : pcm)
  const omniInput = mode === "omni"
  if (instructions === undefined) return { message, omniInput }
  const items = [...(message.content as readonly Exclude<Message["content"], string | null>[number][])]
  const kept = omniInput ? items : items.slice(0, -1)
  const text = { plain: omniInput ? `\n${instructions}` : instructions }
  return { message: { ...message, content: [...kept, text] }, omniInput }
}

function checkCall(model: OmniModel, options: CallOptions): void {
  const { voice, contextPositions, lastFrameSlices, mode, language } = options
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
  if (!voice) return
  const seconds = voice.pcm.length / voice.sampleRateHz
  if (!(seconds >= 0.5 && seconds <= 30)) {
    throw new InputError(`voice: expected 0.5 to 30 seconds of speech, got ${seconds.toFixed(2)} (cut the recording)`)
  }
  if (voice.pcm.some((value) => !Number.isFinite(value))) throw new InputError("voice: expected finite samples")
}

/** @throws InputError naming the option */
export function checkAnswer(options: AnswerOptions): void {
  const { maxNewTokens, seed } = options
  for (const [name, value, least] of [
    ["maxNewTokens", maxNewTokens, 1],
    ["seed", seed, 0],
  ] as const) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least)) {
      throw new InputError(`${name}: expected a whole number ≥ ${least}, got ${value}`)
    }
  }
  checkSampling({ ...DEFAULT_SAMPLING, ...withoutUndefined(options) })
}

/** The sampling options that were given. */
export function withoutUndefined(options: AnswerOptions): AnswerOptions {
  const { temperature, topK, topP, repetitionPenalty, minNewTokens, maxNewTokens, seed } = options
  const all = { temperature, topK, topP, repetitionPenalty, minNewTokens, maxNewTokens, seed }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}
