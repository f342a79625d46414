/**
 * @file Reading what waits in a call's ears, and messages that were not spoken now: a few items at a time, the last frame of a
 * turn in full resolution, and nothing that cannot be read in the way of what follows it.
 */
import { minEncodableSamples } from "../audio/index.ts"
import { callItems } from "../inference/index.ts"
import { inSteps, type Steps } from "../util/index.ts"
import { BEHAVIOURS, type BehaviourOptions } from "./behaviour.ts"
import { contentOf, isUnreadable, roomOf, unitsOf } from "./call-content.ts"
import type { Conversation } from "./conversation.ts"
import type { Room } from "./conversation-state.ts"
import { type Ears, type Heard, UNIT_SAMPLES } from "./ears.ts"
import type { OmniModel } from "./model.ts"
import type { AppendedMessage, CallEvent, CallOptions } from "./types.ts"

/** Units that are read together when several wait. */
export const UNITS_TOGETHER = 2
/** Slices of the last frame of a question, as in the official demo. */
const LAST_FRAME_SLICES = 6

export type ReaderParts = {
  readonly model: OmniModel
  readonly conversation: Conversation
  readonly ears: Ears
  /** Milliseconds of any clock. */
  readonly now: () => number
}

export class InputReader {
  private readonly parts: ReaderParts
  private readonly options: CallOptions
  private readonly behaviour: BehaviourOptions
  private readonly waitingEvents: CallEvent[] = []

  constructor(parts: ReaderParts, options: CallOptions) {
    this.parts = parts
    this.options = options
    this.behaviour = BEHAVIOURS[options.behaviour ?? "live"]
  }

  get lastFrameSlices(): number {
    return this.options.lastFrameSlices ?? LAST_FRAME_SLICES
  }

  get room(): Room {
    return roomOf(this.options, this.parts.model, (event) => this.waitingEvents.push(event))
  }

  /** What happened to make room and nobody was told of yet. */
  events(): CallEvent[] {
    return this.waitingEvents.splice(0)
  }

  /** Reads a message that was not spoken now. */
  async *message({ role, text, toolCalls = [], sound }: AppendedMessage): Steps<void> {
    const { conversation } = this.parts
    if (role === "assistant") {
      return yield* conversation.readAnswer([{ plain: text }, ...toolCalls.flatMap(callItems)], this.room)
    }
    const units = sound ? yield* unitsOf(sound) : []
    for (let at = 0; at < units.length; at += UNITS_TOGETHER) {
      const messages = units.slice(at, at + UNITS_TOGETHER).map((pcm) => this.messageOf({ pcm }))
      yield* conversation.read(messages, { omniInput: true, room: this.room })
    }
    if (text === "" && sound) return
    const content = role === "tool" ? ["<tool_response>\n", { plain: text }, "\n</tool_response>"] : [{ plain: text }]
    yield* conversation.read([{ role: "user", content }], { room: this.room })
  }

  /** Everything up to the end of a turn; its last frame in full resolution, where the context holds that. */
  async *turn(turn: number): AsyncGenerator<CallEvent | undefined, void, void> {
    for (;;) {
      const heard = this.parts.ears.peekTurn(turn, UNITS_TOGETHER)
      const [first] = heard
      if (!first) break
      if (first.turnEnd?.turn === turn) yield* this.rest(first)
      else yield* this.take(heard)
    }
    this.parts.ears.answer(turn)
  }

  /** The rest of a turn; the turn's last frame in full resolution, where the context holds that. */
  async *rest(heard: Heard): AsyncGenerator<CallEvent | undefined, void, void> {
    const slices = this.lastFrameSlices
    const frame = heard.frame ?? (slices > 1 ? heard.turnEnd?.lastFrame : undefined)
    if (frame && slices > 1) {
      try {
        yield* this.read([heard], slices, [{ ...heard, frame }])
        return
      } catch (error) {
        if (!isUnreadable(error)) throw error
      }
    }
    if (this.behaviour.readsTail === "always") yield* this.take([heard])
    else this.parts.ears.remove([heard])
  }

  /**
   * Reads items, after which they no longer wait. Of several that cannot be read together each is tried alone; one that
   * cannot be read at all is gone, or it would stand in the way of everything after it.
   * @throws InputError or ConfigError of the item that is gone
   */
  async *take(heard: readonly Heard[]): AsyncGenerator<CallEvent | undefined, void, void> {
    try {
      yield* this.read(heard, 1)
    } catch (error) {
      if (!isUnreadable(error)) throw error
      if (heard.length > 1) {
        for (const one of heard) yield* this.take([one])
        return
      }
      this.parts.ears.remove(heard)
      throw error
    }
  }

  /** Reads waiting items, which wait no longer then, as they are or as others that say the same. */
  private async *read(
    heard: readonly Heard[],
    maxSliceNums: number,
    shown: readonly Heard[] = heard,
  ): AsyncGenerator<CallEvent | undefined, void, void> {
    const start = this.parts.now()
    const messages = shown.map((item) => this.messageOf(item)).filter(({ content }) => content.length > 0)
    const how = { omniInput: true, maxSliceNums, room: this.room }
    if (messages.length > 0) yield* inSteps(this.parts.conversation.read(messages, how))
    // Before anything is told: whoever leaves then must not find it again.
    this.parts.ears.remove(heard)
    if (messages.length === 0) return
    yield* this.events()
    const samples = heard.reduce((sum, { pcm }) => sum + (pcm?.length ?? 0), 0)
    yield {
      type: "perceived",
      units: heard.length,
      audioMs: (samples / UNIT_SAMPLES) * 1000,
      workMs: this.parts.now() - start,
      positions: this.parts.conversation.length,
    }
  }

  private messageOf(heard: Heard) {
    const { mel, poolStep } = this.parts.model.prompts.audio
    return { role: "user" as const, content: contentOf(heard, minEncodableSamples(poolStep, mel.hopLength)) }
  }
}
