/**
 * @file The engine call behind a Realtime session: opened with the settings of now, replaced when they ask for another one or
 * when the engine died, and given commands one after another. A new call goes on from the last saved state where there is
 * one, else it reads the conversation again.
 */
import { resample } from "../audio/index.ts"
import type { EngineCall } from "../engine/index.ts"
import { RealtimeInputError, type RealtimeSessionObject } from "../protocol/index.ts"
import type { AnswerEvent, CallEvent, CallOptions, Sound } from "../session/index.ts"
import { BackendError, ConfigError, InputError } from "../util/index.ts"
import { readAgain } from "./realtime-context.ts"
import type { Uncommitted } from "./realtime-input.ts"
import type { RealtimeItems } from "./realtime-items.ts"
import type { SessionShared } from "./realtime-parts.ts"
import { type Piece, piecesOf } from "./realtime-pieces.ts"
import { callOptions } from "./realtime-settings.ts"
import { SavedStates } from "./saved-states.ts"

/** Larger states are not saved: they would travel between processes after every answer. */
const MAX_SAVED_BYTES = 32 * 1024 * 1024
/** States above a mebibyte are saved no more often; what was said since is read again. */
const SAVE_EVERY_MS = 10_000
const OFTEN_BYTES = 1024 * 1024
/** Sound that the engine has at most without having taken it; one longer piece it has alone. It would drop what exceeds a minute. */
const MOST_GIVEN_MS = 30_000
/** Speech that was not found yet began no longer ago: what is too short for a turn, and what is heard before a turn. */
const ONSET_MS = 1000
/** Sound that counts as a piece of work; shorter pieces count in proportion. */
const PIECE_MS = 100

/** Work that has its place among the commands, and whose end nothing waits for that comes after it. */
type Begun = { readonly rest: Promise<unknown> }

export type SessionCallParts = {
  readonly onEvent: (event: CallEvent) => void
  /** Sound that no item has, and that a new call has to be given, where calls found all speech that began before `fromMs`. */
  readonly uncommitted: (fromMs: number) => Uncommitted | undefined
  /** Whether the client is in the middle of a turn. */
  readonly isMidTurn: () => boolean
  /** While an answer is made, the call stays, whatever the settings say. */
  readonly isAnswering: () => boolean
}

export class SessionCall {
  readonly #shared: SessionShared
  readonly #items: RealtimeItems
  readonly #parts: SessionCallParts
  #call: Promise<EngineCall> | undefined
  #key = ""
  /** What the call was opened for. */
  #settings: RealtimeSessionObject | undefined
  readonly #states: SavedStates
  #savedAtMs = Number.NEGATIVE_INFINITY
  /** The last call ended because its engine did. */
  #failed: boolean = false as boolean
  /** Counts calls: what was meant for an earlier one is not done to a later one, which has read all items. */
  #generation = 0
  #lastTold: unknown
  #written = { itemId: "", generation: -1 }
  #queue: Promise<void> = Promise.resolve()
  /** Everything that was asked for. */
  #asked: Promise<void> = Promise.resolve()
  #unread = 0
  /** Sound that the open call was given. */
  #heardMs = 0
  #behindMs = 0
  /** Sound that a call was given and has not taken. */
  #givenMs = 0
  #given: Promise<void> = Promise.resolve()
  /** All speech that began before, on the session's clock, was found. */
  #searchedMs = 0
  /** Turns that calls found. */
  #turns = 0
  /** What was found up to here on the call's clock was in sound that is forgotten. */
  #freshMs = 0
  #clears = 0
  /** Where the session's clock stood when the call's clock began. */
  startMs = 0

  constructor(shared: SessionShared, items: RealtimeItems, parts: SessionCallParts) {
    this.#shared = shared
    this.#items = items
    this.#parts = parts
    this.#states = shared.parts.savedStates ?? new SavedStates()
  }

  /** Pieces of work that the engine has not taken yet. */
  get unread(): number {
    return this.#unread
  }

  /** Sound that came and was not taken yet. */
  get behindMs(): number {
    return this.#behindMs
  }

  get isOpen(): boolean {
    return this.#call !== undefined
  }

  /**
   * Lets the call of the settings of now take over.
   * @returns whether that is still the one of an earlier {@link generation}; another one has read all items
   */
  isStill(generation: number): boolean {
    this.refresh()
    return this.isOpen && generation === this.#generation
  }

  /** The call of now writes this item. */
  wrote(itemId: string): void {
    this.#written = { itemId, generation: this.#generation }
  }

  /** Whether the call of now wrote this item: it can cut it at the sample. */
  hasWritten(itemId: string): boolean {
    const { itemId: written, generation } = this.#written
    return this.isOpen && written === itemId && generation === this.#generation
  }

  get generation(): number {
    return this.#generation
  }

  /** Resolves when what was asked so far is done. */
  get idle(): Promise<void> {
    return this.#asked
  }

  /**
   * Does work with the call when all before it is done, or has at least begun where that is enough for its place; its failure
   * becomes an `error` event. Work for a call that is replaced meanwhile is left out, unless it is `lasting`.
   * @returns resolves when it was done, left out, or has failed
   */
  enqueue(
    work: (call: EngineCall) => Promise<Begun> | Promise<void>,
    {
      eventId,
      lasting = false,
      pieces = 1,
    }: { readonly eventId?: string | undefined; readonly lasting?: boolean; readonly pieces?: number } = {},
  ): Promise<void> {
    this.#openNow()
    const generation = this.#generation
    const isDue = () => !this.#shared.closed && (lasting || generation === this.#generation)
    const failed = (error: unknown) => {
      if (isDue() && error !== this.#lastTold) this.#shared.tell(error, eventId ?? null)
      this.#lastTold = error // a call that cannot be opened says so once
      if (generation === this.#generation) this.failed(error)
    }
    let rest: Promise<unknown> | undefined
    let of: Promise<EngineCall> | undefined
    this.#unread += pieces
    this.#queue = this.#queue
      .then(async () => {
        if (this.#shared.closed) return
        const call = await this.open()
        of = this.#call
        if (isDue()) rest = (await work(call))?.rest
      })
      .catch(failed)
    const done = this.#queue
      .then(async () => void (await rest))
      .catch((error: unknown) => {
        // One that fails takes all that it was given with it.
        if (of === this.#call) failed(error)
      })
      .finally(() => {
        this.#unread -= pieces
      })
    this.#asked = both(this.#asked, done)
    return done
  }

  /** Commands from here on are meant for the call of the settings of now, if one is open. */
  refresh(): void {
    if (this.isOpen) this.#openNow()
  }

  #openNow(): void {
    this.open().catch(() => undefined) // whoever waits for it gets it
  }

  /** Begins something in its place among the commands, without waiting for its end. @throws what beginning throws */
  async begin<T extends object>(work: (call: EngineCall) => T): Promise<T> {
    this.#openNow()
    return await new Promise<T>((resolve, reject) => {
      this.#queue = this.#queue
        .then(async () => resolve(work(await this.open())))
        .catch((error: unknown) => reject(error))
    })
  }

  /**
   * Gives the call sound. What comes after it does not wait until it was read: a call that reads still hears.
   * @param clockMs where it begins on the session's clock
   */
  push(sound: Sound, clockMs: number): void {
    for (const piece of piecesOf(sound, clockMs)) {
      this.#queue = this.#queue.then(() => this.#roomFor(piece))
      const work = async (call: EngineCall) => ({ rest: this.#give(call, piece) })
      const done = this.enqueue(work, { pieces: Math.min(1, piece.ms / PIECE_MS) })
      this.#count(piece, done)
    }
  }

  /** Sound is on its way until then. */
  #count({ ms }: Piece, done: Promise<unknown>): void {
    this.#behindMs += ms
    const end = () => {
      this.#behindMs -= ms
    }
    void done.then(end, end)
  }

  /**
   * The call forgets the sound that it has not made a turn of, and what it found in it, and then something else is done.
   * @param work begins with the call's commands at once
   */
  clear(work: () => void = () => undefined, eventId?: string): void {
    const mine = ++this.#clears
    void this.enqueue(async (call) => ({ rest: call.clear() }), { eventId })
    this.#freshMs = Number.POSITIVE_INFINITY // also of a call that has just been opened
    try {
      work()
    } finally {
      void this.enqueue(async () => {
        if (mine === this.#clears) this.#freshMs = this.#heardMs
      })
    }
  }

  async #roomFor({ ms }: Piece): Promise<void> {
    if (this.#givenMs > 0 && this.#givenMs + ms > MOST_GIVEN_MS) await this.#given
  }

  /** @returns resolves when the call took it */
  async #give(call: EngineCall, { pcm, ms, clockMs }: Piece): Promise<void> {
    const generation = this.#generation
    this.startMs = clockMs - this.#heardMs
    this.#heardMs += ms
    this.#givenMs += ms
    const taken = call.push({ pcm })
    const end = () => {
      this.#givenMs -= ms
    }
    this.#given = both(this.#given, taken.then(end, end))
    await taken
    // What a call was given that was replaced meanwhile, the new one has.
    if (generation === this.#generation) this.#searchedMs = Math.max(this.#searchedMs, clockMs + ms - ONSET_MS)
  }

  /**
   * Gives a new call what no item has. It is not waited for: what comes later is given behind it.
   * @param rateHz the call's
   */
  async #giveAgain(call: EngineCall, { sound, clockMs, isWhole }: Uncommitted, rateHz: number): Promise<void> {
    const generation = this.#generation
    if (!isWhole) this.#shared.send({ type: "omni.context.changed", reason: "input_dropped" })
    const { pcm, sampleRateHz } = sound
    const asHeard = sampleRateHz === rateHz ? pcm : resample(pcm, sampleRateHz, rateHz)
    for (const piece of piecesOf({ pcm: asHeard, sampleRateHz: rateHz }, clockMs)) {
      await this.#roomFor(piece)
      if (generation !== this.#generation) return
      const taken = this.#give(call, piece)
      this.#count(piece, taken)
      taken.catch((error: unknown) => {
        if (generation === this.#generation) this.failed(error)
      })
    }
  }

  /** The call with the settings of now; another one replaces it when they ask for it. */
  open(): Promise<EngineCall> {
    const { settings, parts, closed } = this.#shared
    if (closed) return Promise.reject(new DOMException("the session is closed", "AbortError"))
    if (this.#call && (settings === this.#settings || this.#parts.isAnswering())) return this.#call
    this.#settings = settings
    const { voice } = settings.audio.output
    const options = callOptions(settings, parts.voice?.(typeof voice === "string" ? voice : voice.id))
    const key = JSON.stringify({ ...options, voice })
    if (this.#call && key === this.#key) return this.#call
    this.drop()
    this.#key = key
    this.#generation++
    this.#call = this.#make(options, key)
    return this.#call
  }

  async #make(options: CallOptions, key: string): Promise<EngineCall> {
    const { parts, send, stop } = this.#shared
    const isFirst = this.#generation === 1
    const state = this.#states.get(this)
    const saved = state?.key === key ? state : undefined
    const missing = this.#items.all.filter(({ id, status }) => status !== "in_progress" && !saved?.itemIds.has(id))
    const open = this.#parts.uncommitted(this.#searchedMs)
    if (open) this.#searchedMs = open.clockMs
    const generation = this.#generation
    this.#freshMs = 0
    // Events of a call that was replaced are of the past.
    const isOld = (event: CallEvent) =>
      generation !== this.#generation || ("atMs" in event && event.atMs <= this.#freshMs)
    const onEvent = (event: CallEvent) => {
      if (isOld(event)) return
      if (event.type === "speech-end") this.#turns++
      this.#parts.onEvent(event)
    }
    if (this.#failed) await parts.whenReady?.(stop)
    this.#failed = false
    const call = await parts.engine.call(options, { onEvent, ...(saved ? { snapshot: saved.snapshot } : {}) })
    // It may have been replaced while it was opened: then nothing is meant for it.
    if (generation !== this.#generation) return call
    this.#heardMs = saved?.heardMs ?? 0
    try {
      // Sound that it had not made a turn of is among what it is given again.
      if (saved && options.turns) await call.clear()
      await readAgain(call, missing, this.#items.sounds, (bytes) => parts.decodeImage(bytes, "item.content"))
      if (generation !== this.#generation) return call
      if (saved) send({ type: "omni.context.changed", reason: "restored" })
      else if (missing.length > 0 && !isFirst) send({ type: "omni.context.changed", reason: "rebuilt" })
      if (missing.length > 0 || open) await call.keep()
      if (open && generation === this.#generation) await this.#giveAgain(call, open, options.sampleRateHz ?? 16_000)
      return call
    } catch (error) {
      void call.close().catch(() => undefined)
      throw error
    }
  }

  /** Saves the call's state behind an answer, if it is small. */
  save({ promptTokens, completionTokens }: Extract<AnswerEvent, { type: "turn-end" }>): void {
    const { parts } = this.#shared
    const { layers, hiddenSize } = parts.engine.info
    // Keys and values of every layer, no wider than its hidden states.
    const atMost = (promptTokens + completionTokens) * layers * hiddenSize * 2 * 4
    if (atMost > (parts.maxSavedBytes ?? MAX_SAVED_BYTES)) {
      this.#states.delete(this)
      return
    }
    const now = (parts.nowMs ?? Date.now)()
    if (atMost > OFTEN_BYTES && now - this.#savedAtMs < SAVE_EVERY_MS) return
    this.#savedAtMs = now
    const key = this.#key
    void this.enqueue(async (call) => {
      if (this.#parts.isMidTurn()) return
      const itemIds = new Set(this.#items.all.filter(({ status }) => status !== "in_progress").map(({ id }) => id))
      const [heardMs, turns] = [this.#heardMs, this.#turns]
      const snapshot = await call.snapshot()
      // A turn that was found meanwhile may be in it, though its item is not.
      const isWhole = turns === this.#turns && !this.#parts.isMidTurn()
      const isStill = key === this.#key && isWhole && !this.#shared.closed
      if (isStill) this.#states.set(this, { snapshot, key, itemIds, heardMs })
    })
  }

  /** An item is no longer what it was when the state was saved. */
  itemChanged(id: string): void {
    if (this.#states.get(this)?.itemIds.has(id)) this.#states.delete(this)
  }

  /** What went wrong with the engine ends the call; what was wrong with the request does not. */
  failed(error: unknown): void {
    const wrongRequest = [RealtimeInputError, InputError, ConfigError].some((type) => error instanceof type)
    if (wrongRequest) return
    this.#failed ||= error instanceof BackendError
    this.drop()
  }

  /** What the call has read is no longer the conversation: another one replaces it when no answer is being made. */
  outdate(): void {
    this.#key = ""
    this.#settings = undefined
  }

  /** The next command gets a new call. */
  drop(): void {
    const call = this.#call
    this.#call = undefined
    void call?.then((open) => open.close()).catch(() => undefined)
  }

  async close(): Promise<void> {
    this.#states.delete(this)
    await this.#call?.then((open) => open.close()).catch(() => undefined)
  }
}

/** Resolves when both have, with nothing: results that hold those before them would grow with every piece of sound. */
async function both(before: Promise<void>, now: Promise<void>): Promise<void> {
  await before
  await now
}
