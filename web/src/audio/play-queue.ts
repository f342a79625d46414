/**
 * @file What is still to be played, as a queue that knows how many samples of each item have left it. Runs inside the audio
 * worklet; it knows no Web Audio.
 */

/** Samples of an item that have been played. */
export type Played = { readonly id: string; readonly samples: number }

type Piece = { readonly id: string; readonly pcm: Float32Array }

export class PlayQueue {
  #pieces: Piece[] = []
  /** Where the first piece goes on. */
  #offset = 0
  readonly #played = new Map<string, number>()
  readonly #changed = new Set<string>()

  /** Samples that wait. */
  get pending(): number {
    return this.#pieces.reduce((sum, { pcm }) => sum + pcm.length, 0) - this.#offset
  }

  /** Appends sound of an item; the queue keeps the array. */
  enqueue(id: string, pcm: Float32Array): void {
    if (pcm.length === 0) return
    this.#pieces.push({ id, pcm })
    if (!this.#played.has(id)) this.#played.set(id, 0)
  }

  /** Fills the array with the next samples, and with silence where there are none. @returns whether any was sound */
  read(out: Float32Array): boolean {
    let filled = 0
    while (filled < out.length && this.#pieces.length > 0) {
      const { id, pcm } = this.#pieces[0]!
      const count = Math.min(out.length - filled, pcm.length - this.#offset)
      out.set(pcm.subarray(this.#offset, this.#offset + count), filled)
      filled += count
      this.#offset += count
      this.#played.set(id, this.#played.get(id)! + count)
      this.#changed.add(id)
      if (this.#offset < pcm.length) break
      this.#pieces.shift()
      this.#offset = 0
    }
    out.fill(0, filled)
    return filled > 0
  }

  /**
   * Drops what waits, but for a short fade that avoids a click.
   * @returns what each waiting item will have played in the end, the fade included
   */
  flush(fadeSamples: number): Played[] {
    const ids = [...new Set(this.#pieces.map(({ id }) => id))]
    const first = this.#pieces[0]
    const tail = first?.pcm.slice(this.#offset, this.#offset + fadeSamples) ?? new Float32Array(0)
    for (let i = 0; i < tail.length; i++) tail[i]! *= 1 - (i + 1) / tail.length
    this.#pieces = first && tail.length > 0 ? [{ id: first.id, pcm: tail }] : []
    this.#offset = 0
    return ids.map((id) => ({ id, samples: this.#played.get(id)! + (id === first?.id ? tail.length : 0) }))
  }

  /** Items that played on since the last call. Finished ones are forgotten after 64 more. */
  takeChanges(): Played[] {
    const changes = [...this.#changed].map((id) => ({ id, samples: this.#played.get(id)! }))
    this.#changed.clear()
    for (const id of this.#played.keys()) {
      if (this.#played.size <= 64) break
      if (!this.#pieces.some((piece) => piece.id === id)) this.#played.delete(id)
    }
    return changes
  }
}
