/** @file The items of one Realtime conversation in their order, and the events that tell of them. It knows no engine. */
import { concatPcm, resample } from "../audio/index.ts"
import { RealtimeInputError, type RealtimeItem, type RealtimeStoredItem } from "../protocol/index.ts"
import { ItemSounds } from "./item-sounds.ts"
import { rateOf, samplesFromBase64, samplesToBase64 } from "./realtime-audio.ts"
import { fail, newId, type SessionShared } from "./realtime-parts.ts"

const MAX_ITEMS = 2000
/** Characters of all items, pictures included. */
const MAX_CHARACTERS = 32 * 1024 * 1024

export class RealtimeItems {
  readonly #shared: SessionShared
  #items: RealtimeStoredItem[] = []
  #characters = 0
  readonly #sizes = new Map<string, number>()
  /** What the user said, as far as it is kept. */
  readonly sounds = new ItemSounds()
  /** Sound per answer, in milliseconds. */
  readonly #soundMs = new Map<string, number>()

  constructor(shared: SessionShared) {
    this.#shared = shared
  }

  get all(): readonly RealtimeStoredItem[] {
    return this.#items
  }

  /** @throws RealtimeInputError for an unknown id */
  get(id: string): RealtimeStoredItem {
    const item = this.#items.find((one) => one.id === id)
    if (item) return item
    throw fail("invalid_value", "item_id: expected an item of this conversation, got an unknown id", "item_id")
  }

  /** Enters a finished item. */
  add(item: RealtimeStoredItem, at = this.#items.length): void {
    const previous_item_id = this.#items[at - 1]?.id ?? null
    this.#items.splice(at, 0, item)
    this.#shared.send({ type: "conversation.item.added", previous_item_id, item })
    this.#shared.send({ type: "conversation.item.done", previous_item_id, item })
  }

  /**
   * Enters an item whose events are told by others, behind what it answers: what came meanwhile is read after it.
   * @param after the item before it; the last one when that is gone
   * @returns the id before it
   */
  enter(item: RealtimeStoredItem, after: string | undefined): string | null {
    const before = this.#items.findIndex(({ id }) => id === after)
    const at = before >= 0 ? before + 1 : after === undefined ? 0 : this.#items.length
    this.#items.splice(at, 0, item)
    return this.#items[at - 1]?.id ?? null
  }

  /**
   * Enters an item that a client made.
   * @param previous the id before it, or `root`; the last one when absent
   * @returns the item, and whether it is the last
   * @throws RealtimeInputError for what cannot be entered; nothing is then
   */
  create(given: RealtimeItem, previous: string | undefined): { item: RealtimeStoredItem; last: boolean } {
    this.#check(given)
    let at = this.#items.length
    if (previous === "root") at = 0
    else if (previous !== undefined) at = this.#items.indexOf(this.get(previous)) + 1
    const last = at === this.#items.length
    const id = given.id ?? newId("item")
    const size = given.type === "message" ? JSON.stringify(given.content).length : 0
    if (this.#characters + size > MAX_CHARACTERS)
      throw fail("invalid_value", "item: expected smaller items, got a full conversation (delete some)", "item")
    const item = this.#withoutSound({ ...given, id, object: "realtime.item", status: "completed" })
    this.#characters += size
    this.#sizes.set(id, size)
    this.add(item, at)
    return { item, last }
  }

  /** Sound is kept apart, and never told back. @throws RealtimeInputError for damaged sound */
  #withoutSound(item: RealtimeStoredItem): RealtimeStoredItem {
    if (item.type !== "message" || item.role !== "user") return item
    const { format } = this.#shared.settings.audio.input
    const pieces: Float32Array[] = []
    const content = item.content.map((part) => {
      if (part.type !== "input_audio" || part.audio === undefined) return part
      pieces.push(samplesFromBase64(part.audio, format, "item.content"))
      const { audio: _audio, ...rest } = part
      return rest
    })
    if (pieces.length > 0) this.sounds.set(item.id, { pcm: concatPcm(pieces), sampleRateHz: rateOf(format) })
    return { ...item, content }
  }

  /** An item with its sound, in the session's input format. @throws RealtimeInputError for an unknown id */
  retrieve(id: string): RealtimeStoredItem {
    const item = this.get(id)
    const sound = this.sounds.get(id)
    if (!sound || item.type !== "message" || item.role !== "user") return item
    const { format } = this.#shared.settings.audio.input
    const audio = samplesToBase64(resample(sound.pcm, sound.sampleRateHz, rateOf(format)), format)
    const content = item.content.map((part) => (part.type === "input_audio" ? { ...part, audio } : part))
    return { ...item, content }
  }

  /** What the user said is known in words. */
  transcribed(id: string, transcript: string): void {
    const item = this.#items.find((one) => one.id === id)
    if (item?.type !== "message" || item.role !== "user") return
    item.content = item.content.map((part) => (part.type === "input_audio" ? { ...part, transcript } : part))
  }

  #check(given: RealtimeItem): void {
    if (this.#items.length >= (this.#shared.parts.maxItems ?? MAX_ITEMS))
      throw fail("invalid_value", "item: expected fewer items, got a full conversation (delete some)", "item")
    if (given.id !== undefined && this.#items.some(({ id }) => id === given.id))
      throw fail("invalid_value", "item.id: expected a new id, got one that exists", "item.id")
    const sounds = given.type === "message" && given.role === "assistant"
    if (sounds && given.content.some(({ type }) => type !== "output_text")) {
      const expected = "item.content: expected output_text, got sound (assistant sound cannot be created)"
      throw fail("invalid_value", expected, "item.content")
    }
    if (given.type !== "function_call_output") return
    if (!this.#items.some((one) => one.type === "function_call" && one.call_id === given.call_id))
      throw fail("invalid_value", "item.call_id: expected the id of a call, got an unknown one", "item.call_id")
  }

  /** @throws RealtimeInputError for an unknown id */
  delete(id: string): void {
    this.get(id)
    this.#items = this.#items.filter((item) => item.id !== id)
    this.#soundMs.delete(id)
    this.sounds.delete(id)
    this.#characters -= this.#sizes.get(id) ?? 0
    this.#sizes.delete(id)
    this.#shared.send({ type: "conversation.item.deleted", item_id: id })
  }

  /** Notes how much sound of an answer was sent. */
  sounded(id: string, ms: number): void {
    this.#soundMs.set(id, ms)
  }

  /**
   * The answer that a client wants to cut.
   * @returns the item, how much of it counts as heard, and whether it is the latest answer
   * @throws RealtimeInputError when it has no sound, or clearly less
   */
  toTruncate(
    id: string,
    endMs: number,
  ): { item: RealtimeStoredItem; soundMs: number; heardMs: number; latest: boolean } {
    const item = this.get(id)
    const soundMs = this.#soundMs.get(id)
    if (soundMs === undefined || item.type !== "message" || item.role !== "assistant")
      throw fail("invalid_value", "item_id: expected an assistant item with sound, got another", "item_id")
    // Clients count what they received; a frame more is their rounding.
    if (endMs > soundMs + 100) {
      const message = `Audio content of ${Math.floor(soundMs)} ms is already shorter than ${Math.floor(endMs)} ms`
      throw new RealtimeInputError("invalid_value", message, "audio_end_ms", null)
    }
    const latest = this.#items.findLast((one) => one.type === "message" && one.role === "assistant")?.id === id
    return { item, soundMs, heardMs: Math.min(endMs, soundMs), latest }
  }

  /** An answer ends where it was heard. */
  truncated(item: RealtimeStoredItem, transcript: string, heardMs: number, endMs: number): void {
    this.#soundMs.set(item.id, heardMs)
    if (item.type === "message" && item.role === "assistant") item.content = [{ type: "output_audio", transcript }]
    this.#shared.send({
      type: "conversation.item.truncated",
      ...{ item_id: item.id, content_index: 0, audio_end_ms: endMs },
    })
  }
}
