/**
 * @file The sound of a call with turns: it waits to be listened to, voice activity finds begin and end of speech in it, and
 * what the model shall hear goes on to the ears, everything or turns alone.
 *
 *   push ──► incoming ──► voice activity ──► kept ──► ears: units … end of turn, units … end of turn
 *                                 └────────► speech-start, speech-end, idle
 */
import { concatPcm } from "../audio/index.ts"
import {
  createTurnDetector,
  type TurnDetector,
  type TurnEvent,
  type TurnState,
  VAD_WINDOW_SAMPLES,
  type Vad,
  type VadState,
} from "../turns/index.ts"
import type { Ears, Heard, Place } from "./ears.ts"
import { UNIT_SAMPLES } from "./ears.ts"
import type { CallEvent, CallOptions, TurnOptions } from "./types.ts"

export type TurnGateData = {
  readonly incoming: readonly Heard[]
  readonly vad: VadState
  readonly turn: TurnState
  /** Sound that was listened to, and not given to the ears or dropped. */
  readonly kept: Float32Array
  /** Where `kept` begins, in samples of sound listened to. */
  readonly keptStart: number
  /** Samples that were dropped or cleared unheard: the clock of pushed sound runs ahead by so much. */
  readonly skipped: number
  /** The assistant's speech lasts until here if it is played as it is delivered, in samples of sound listened to. */
  readonly speakingUntil: number
}

/** Sound listened to in one step: 6 ms of work. */
const STEP_SAMPLES = UNIT_SAMPLES
/** Sound that may wait to be listened to; one longer input waits beside it. */
const MAX_INCOMING_SAMPLES = 60 * UNIT_SAMPLES
/** Windows after the last speech that belong to a turn: endings of words are quiet. */
const POST_ROLL_WINDOWS = 6

/** Input that waits to be listened to, or the place of a message in it. */
type Incoming = Heard & { readonly place?: Place; readonly reached?: () => void }

const hasContent = ({ pictures, pcm, frame, text, place }: Incoming): boolean =>
  [pictures, pcm, frame, text, place].some((part) => part !== undefined)

/** @throws ConfigError naming the option that is out of its range */
export function turnDetectorOf(options: TurnOptions): TurnDetector {
  const { threshold, silenceMs, preRollMs, minSpeechMs, idleMs } = options
  const all = { threshold, silenceMs, preRollMs, minSpeechMs, idleTimeoutMs: idleMs }
  return createTurnDetector(Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)))
}

export class TurnGate {
  private readonly vad: Vad
  private readonly detector: TurnDetector
  private readonly perceive: NonNullable<CallOptions["perceive"]>
  private readonly ears: Ears
  private readonly preRollWindows: number
  private state: { -readonly [K in keyof Omit<TurnGateData, "incoming">]: TurnGateData[K] } & {
    incoming: readonly Incoming[]
  }
  /** Input that stays when sound is cleared. */
  private kept: readonly Incoming[]
  private listening: boolean = false
  /** Sound that the ears had to drop and nobody was told of yet. */
  private droppedMs = 0

  constructor(
    vad: Vad,
    options: Required<Pick<CallOptions, "turns" | "perceive">>,
    ears: Ears,
    saved?: TurnGateData | undefined,
  ) {
    this.vad = vad
    this.detector = turnDetectorOf(options.turns)
    this.perceive = options.perceive
    this.ears = ears
    this.preRollWindows = Math.ceil((this.detector.options.preRollMs * (UNIT_SAMPLES / 1000)) / VAD_WINDOW_SAMPLES)
    this.state = saved
      ? { ...saved }
      : {
          incoming: [],
          vad: vad.init(),
          turn: this.detector.init(),
          kept: new Float32Array(0),
          keptStart: 0,
          skipped: 0,
          speakingUntil: 0,
        }
    this.kept = this.state.incoming
  }

  get data(): TurnGateData {
    return { ...this.state, incoming: this.state.incoming.filter(({ place }) => place === undefined) }
  }

  /** A place behind what was pushed so far. @param reached called when all before it was listened to, perhaps at once */
  place(reached: () => void = () => undefined): Place {
    const place: Place = { item: undefined, isReached: false }
    if (this.isBehind) this.state.incoming = [...this.state.incoming, { place, reached }]
    else this.give({ place, reached })
    return place
  }

  /**
   * Takes checked input without listening to it, all of it: what waits already makes room. Where there is nothing to listen
   * to, it goes on to the ears at once.
   * @returns milliseconds of sound that were dropped, the oldest first; frames and text always stay
   */
  push({ text, ...input }: Heard): number {
    const { state } = this
    if (state.incoming.length === 0 && !input.pcm) {
      this.give({ ...input, ...(text === undefined ? {} : { text }) })
      return 0
    }
    const lengths = [...state.incoming, input].map(({ pcm }) => pcm?.length ?? 0)
    const longest = Math.max(...lengths)
    const room = MAX_INCOMING_SAMPLES + (longest > MAX_INCOMING_SAMPLES ? longest : 0)
    const dropped = Math.max(0, lengths.reduce((sum, length) => sum + length, 0) - room)
    let left = dropped
    const before = state.incoming.map((item) => {
      const { pcm, ...rest } = item
      if (!pcm || left === 0) return item
      const count = Math.min(left, pcm.length)
      left -= count
      return count < pcm.length ? { ...rest, pcm: pcm.subarray(count) } : rest
    })
    // Text follows the sound that came with it.
    state.incoming = [...before, input, ...(text === undefined ? [] : [{ text }])].filter(hasContent)
    state.skipped += dropped
    return (dropped / UNIT_SAMPLES) * 1000
  }

  /** Whether input waits to be listened to. */
  get isBehind(): boolean {
    return this.state.incoming.length > 0
  }

  /** The assistant's speech was delivered: so many milliseconds more of it are to be played. */
  speak(lengthMs: number): void {
    const { state } = this
    state.speakingUntil = Math.max(state.speakingUntil, this.listened) + (lengthMs * UNIT_SAMPLES) / 1000
  }

  /** The assistant's speech stopped. */
  stopSpeaking(): void {
    this.state.speakingUntil = this.listened
  }

  /**
   * Listens to what was pushed, up to a second each step: small pushes that wait are joined, or where other work takes turns with
   * listening, each of them would wait for a step of it. Only one run at a time does: another one returns at once, since the
   * first goes on until nothing waits. A step that fails or is abandoned leaves its sound to the next run.
   * @param isAnswering whether an answer is being made
   * @param mayPause whether it may leave the rest for later where the ears are full, since somebody reads what they have
   */
  async *listen(
    isAnswering: () => boolean,
    mayPause: () => boolean = () => false,
  ): AsyncGenerator<CallEvent | undefined, void, void> {
    if (this.listening) return
    this.listening = true
    try {
      for (let inputs = this.nextInputs; inputs[0]; inputs = this.nextInputs) {
        if (this.ears.isFull && mayPause()) return
        const { pcm: _, ...rest } = inputs[0]
        const sound = concatPcm(inputs.flatMap(({ pcm }) => pcm ?? []))
        const chunk = sound.subarray(0, STEP_SAMPLES)
        const heard = chunk.length > 0 && (await this.vad.step(this.state.vad, chunk))
        // Input that was cleared or dropped meanwhile is not heard.
        if (inputs.some((input, i) => this.state.incoming[i] !== input)) continue
        this.give(rest)
        const more = sound.length > STEP_SAMPLES ? [{ pcm: sound.subarray(STEP_SAMPLES) }] : []
        this.state.incoming = [...more, ...this.state.incoming.slice(inputs.length)]
        if (!heard) continue
        const events = [...this.hear(chunk, heard, isAnswering()), ...this.droppings()]
        yield* events
        if (events.length === 0) yield undefined
      }
    } finally {
      this.listening = false
    }
  }

  /** The first input that waits, with the sound that follows it at once, a second at most. */
  private get nextInputs(): readonly Incoming[] {
    const { incoming } = this.state
    let length = incoming[0]?.pcm?.length ?? STEP_SAMPLES
    const end = incoming.findIndex(({ pcm, ...others }, i) => {
      if (i === 0) return false
      length += pcm?.length ?? 0
      return !pcm || hasContent(others) || length > STEP_SAMPLES
    })
    return end < 0 ? incoming : incoming.slice(0, end)
  }

  /**
   * The turn is answered now, finished or not: what was said of it so far goes to the ears, a word too short to start a turn
   * as well, and its end is not reported any more. Speech that goes on begins the next one.
   */
  release(): void {
    const { state } = this
    const { windows, speaking, voicedUntil } = state.turn
    const isSilence = !speaking && voicedUntil * VAD_WINDOW_SAMPLES <= state.keptStart
    if (this.perceive === "speech" && isSilence) return
    this.pass(Number.POSITIVE_INFINITY)
    const [, turn] = this.detector.finish(state.turn)
    state.turn = { ...turn, earliest: windows, idleFrom: windows }
  }

  /** What else was pushed beside sound so far stays. */
  keep(): void {
    this.kept = this.state.incoming
  }

  /** Forgets sound that the ears did not get, and speech that had begun. */
  clear(): void {
    const { state } = this
    const { windows } = state.turn
    state.skipped += state.incoming.reduce((sum, { pcm }) => sum + (pcm?.length ?? 0), 0)
    // Nothing is left to be listened to.
    for (const { pcm: _, ...input } of state.incoming.filter((one) => one.place || this.kept.includes(one)))
      this.give(input)
    state.incoming = []
    this.drop(windows)
    state.turn = { ...this.detector.init(), windows, earliest: windows, idleFrom: windows }
  }

  private get listened(): number {
    return this.state.turn.windows * VAD_WINDOW_SAMPLES
  }

  private hear(
    pcm: Float32Array,
    [probabilities, vad]: readonly [Float32Array, VadState],
    isAnswering: boolean,
  ): CallEvent[] {
    const { state } = this
    state.vad = vad
    state.kept = concatPcm([state.kept, pcm])
    const reported: CallEvent[] = []
    for (const probability of probabilities) {
      const isSpeaking = isAnswering || this.listened < state.speakingUntil
      const [events, turn] = this.detector.step(state.turn, Float32Array.of(probability), isSpeaking)
      state.turn = turn
      for (const event of events) reported.push(this.obey(event))
      this.advance()
    }
    return reported
  }

  /** Ears get a turn's beginning and end where they are. */
  private obey(event: TurnEvent): CallEvent {
    const { state } = this
    const ms = (samples: number) => ((samples + state.skipped) * 1000) / UNIT_SAMPLES
    const atMs = ms(event.atSample)
    switch (event.type) {
      case "speech-start":
        if (this.perceive === "speech") this.drop(event.startSample / VAD_WINDOW_SAMPLES)
        return { type: "speech-start", atMs, startMs: ms(event.startSample) }
      case "speech-end": {
        const at = event.atSample / VAD_WINDOW_SAMPLES
        const end = event.endSample / VAD_WINDOW_SAMPLES
        this.pass(this.perceive === "always" ? at : Math.min(at, end + POST_ROLL_WINDOWS))
        this.drop(at)
        this.ears.endTurn("sound")
        return { type: "speech-end", atMs, endMs: ms(event.endSample) }
      }
      case "idle":
        return { type: "idle", atMs }
    }
  }

  /** Gives the ears what is theirs by now, and drops what no turn can reach back to. */
  private advance(): void {
    const { windows, speaking, voicedUntil, onset, earliest } = this.state.turn
    if (this.perceive === "always") this.pass(windows)
    else if (speaking) this.pass(Math.min(windows, voicedUntil + POST_ROLL_WINDOWS))
    else this.drop(Math.max(earliest, (onset >= 0 ? onset : windows) - this.preRollWindows))
  }

  private pass(window: number): void {
    const pcm = this.cut(window)
    if (pcm.length > 0) this.give({ pcm })
  }

  private give({ place, reached, ...heard }: Incoming): void {
    this.droppedMs += this.ears.take(heard)
    if (place) Object.assign(place, { item: this.ears.latest, isReached: true } satisfies Place)
    reached?.()
  }

  private droppings(): CallEvent[] {
    const { droppedMs } = this
    this.droppedMs = 0
    return droppedMs > 0 ? [{ type: "input-dropped", droppedMs }] : []
  }

  private drop(window: number): void {
    this.cut(window)
  }

  /** Takes kept sound from the front, up to a window. */
  private cut(window: number): Float32Array {
    const { state } = this
    const count = Math.max(0, window * VAD_WINDOW_SAMPLES - state.keptStart)
    const front = state.kept.slice(0, count)
    state.kept = state.kept.slice(count)
    state.keptStart += front.length
    return front
  }
}

/** Listens for turns where the options say so, from where a snapshot was taken. */
export function gateOf(
  { vad }: { readonly vad?: Vad },
  { turns, mode, perceive = mode === "omni" ? "always" : "speech" }: CallOptions,
  { ears, gate }: { readonly ears: Ears; readonly gate?: TurnGateData | undefined },
): TurnGate | undefined {
  if (turns && vad) return new TurnGate(vad, { turns, perceive }, ears, gate)
  // What a saved call had not listened to is heard all the same.
  for (const heard of gate?.incoming ?? []) ears.take(heard)
  return undefined
}
