/** @file Saved states of all calls of a server, never more bytes than allowed: the oldest make room for new ones. */
import type { CallSnapshot } from "../session/index.ts"

const MAX_BYTES = 256 * 1024 * 1024

export type SavedState = {
  readonly snapshot: CallSnapshot
  /** The settings of its call. */
  readonly key: string
  /** Items that the state knows. */
  readonly itemIds: ReadonlySet<string>
  /** Sound that its call was given. */
  readonly heardMs: number
}

export class SavedStates {
  readonly #states = new Map<object, SavedState>()
  readonly #mostBytes: number
  #bytes = 0

  constructor(mostBytes = MAX_BYTES) {
    this.#mostBytes = mostBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  get(owner: object): SavedState | undefined {
    return this.#states.get(owner)
  }

  set(owner: object, state: SavedState): void {
    this.delete(owner)
    this.#states.set(owner, state)
    this.#bytes += state.snapshot.bytes.length
    for (const oldest of this.#states.keys()) {
      if (this.#bytes <= this.#mostBytes) return
      this.delete(oldest)
    }
  }

  delete(owner: object): void {
    const state = this.#states.get(owner)
    if (!state) return
    this.#states.delete(owner)
    this.#bytes -= state.snapshot.bytes.length
  }
}
