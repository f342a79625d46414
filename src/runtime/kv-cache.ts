/**
 * @file Key/value caches in host memory. The runtime owns one growing buffer per layer; graphs read it as an input (never
 * copied) and give back only the new rows. Keys are stored after rotary embedding.
 */
import { type HostTensor, tensor } from "../tensor/index.ts"
import { bytesPerStep, InputError, invariant, runAtOnce } from "../util/index.ts"

/** The layers of a cache: names of the graph's slots and their sizes. */
export type CacheSpec = readonly { readonly name: string; readonly kvHeads: number; readonly headSize: number }[]

/** Saved cache: everything needed to go on in another process. */
export type CacheSnapshot = {
  readonly rows: number
  readonly length: number
  readonly valid: Uint8Array // [B, length]
  readonly slots: { readonly [name: string]: { readonly keys: Float32Array; readonly values: Float32Array } } // [B, G, length, K]
}

/** Rotates one key back and forth; given by who knows the rotary tables. `delta` is the change of position. */
export type RotateKey = (key: Float32Array, delta: number) => void

/** Steps of spare capacity that truncation leaves. */
const SPARE_STEPS = 4

/** Keys [B, G, C, K] and values [B, G, K, C]: each lies the way its product in attention streams it from memory. */
type Buffers = {
  readonly kvHeads: number
  readonly headSize: number
  /** C: behind the cache's own until the slot is used again. */
  capacity: number
  keys: Float32Array
  values: Float32Array
}

/** The value that masks a score out: exp of it is 0, and no sum with a score overflows to -inf. */
const MASKED = -1e30

export class KvCache {
  readonly rows: number
  private readonly step: number
  private readonly spec: CacheSpec
  private readonly slots = new Map<string, Buffers>()
  private revisionValue = 0
  private capacityValue = 0
  private lengthValue = 0
  /** 1 where a cached position is real, 0 where it pads a batch. */
  private validRows: Uint8Array[]

  /** @param step capacity grows by this many positions; 1 keeps buffers exactly as long as their content */
  constructor(spec: CacheSpec, rows: number, step = 256) {
    this.spec = spec
    this.rows = rows
    this.step = step
    this.validRows = Array.from({ length: rows }, () => new Uint8Array(0))
    for (const { name, kvHeads, headSize } of spec) {
      this.slots.set(name, { kvHeads, headSize, capacity: 0, keys: new Float32Array(0), values: new Float32Array(0) })
    }
    this.reserve(step > 1 ? step : 0)
  }

  /** Cached positions of each row, padding included. */
  get length(): number {
    return this.lengthValue
  }

  /** Positions that the buffers hold; graphs see this many and a mask. */
  get capacity(): number {
    return this.capacityValue
  }

  /** Changes whenever what is cached does, except by forgetting at the end: copies elsewhere know when they are stale. */
  get revision(): number {
    return this.revisionValue
  }

  /** Of buffers that are used; one that is to grow does so when it is used next. */
  get sizeBytes(): number {
    let total = 0
    for (const { keys, values } of this.slots.values()) total += keys.byteLength + values.byteLength
    return total
  }

  /** Views of a slot, keys [B, G, capacity, K] and values [B, G, K, capacity], valid until the cache changes. */
  feed(name: string): { keys: HostTensor; values: HostTensor } {
    const { kvHeads, headSize, keys, values } = this.slot(name)
    return {
      keys: tensor("f32", [this.rows, kvHeads, this.capacityValue, headSize], keys),
      values: tensor("f32", [this.rows, kvHeads, headSize, this.capacityValue], values),
    }
  }

  /** Number of real positions of a row: the position id of its next token. */
  realLength(row: number): number {
    return this.validRows[row]!.subarray(0, this.lengthValue).reduce((sum, bit) => sum + bit, 0)
  }

  /**
   * Additive mask of T new positions over capacity + T columns, causal among the new ones.
   * @param perRow one mask for each row; without it all rows must agree
   * @param valid which new positions are real, [B, T]
   * @returns [B or 1, 1, T, capacity + T]
   */
  mask(steps: number, perRow: boolean, valid?: Uint8Array): HostTensor<"f32"> {
    const columns = this.capacityValue + steps
    const padded = valid?.includes(0) || this.validRows.some((row) => row.subarray(0, this.lengthValue).includes(0))
    invariant(perRow || this.rows === 1 || !padded, "a padded batch needs a mask for each row")
    const rows = perRow ? this.rows : 1
    const data = new Float32Array(rows * steps * columns)
    for (let b = 0; b < rows; b++) {
      for (let t = 0; t < steps; t++) {
        const line = data.subarray((b * steps + t) * columns, (b * steps + t + 1) * columns)
        line.fill(MASKED, this.lengthValue, this.capacityValue)
        line.fill(MASKED, this.capacityValue + t + 1)
        if (!padded) continue
        for (let j = 0; j < this.lengthValue; j++) if (!this.validRows[b]![j]) line[j] = MASKED
        for (let j = 0; j <= t; j++) if (valid && !valid[b * steps + j]) line[this.capacityValue + j] = MASKED
      }
    }
    return tensor("f32", [rows, 1, steps, columns], data)
  }

  /**
   * Writes the new rows [B, T, G·K] of one slot behind the cached positions. They count only after `advance`, so that a
   * pass in several parts (or one that is abandoned) leaves the cache as it was.
   */
  stage(name: string, steps: number, rows: { readonly keys: Float32Array; readonly values: Float32Array }): void {
    this.reserve(this.lengthValue + steps)
    this.revisionValue++
    const slot = this.slot(name)
    this.putKeys(slot, rows.keys, steps)
    this.putValues(slot, rows.values, steps)
  }

  /** Makes staged rows part of the cache. @param valid which new positions are real, [B, T]; all when absent */
  advance(steps: number, valid?: Uint8Array): void {
    this.reserve(this.lengthValue + steps)
    for (let b = 0; b < this.rows; b++) {
      for (let t = 0; t < steps; t++) this.validRows[b]![this.lengthValue + t] = valid ? valid[b * steps + t]! : 1
    }
    this.lengthValue += steps
  }

  private putKeys({ kvHeads, headSize, keys }: Buffers, rows: Float32Array, steps: number): void {
    for (let b = 0; b < this.rows; b++) {
      for (let g = 0; g < kvHeads; g++) {
        const start = ((b * kvHeads + g) * this.capacityValue + this.lengthValue) * headSize
        for (let t = 0; t < steps; t++) {
          const from = ((b * steps + t) * kvHeads + g) * headSize
          keys.set(rows.subarray(from, from + headSize), start + t * headSize)
        }
      }
    }
  }

  private putValues({ kvHeads, headSize, values }: Buffers, rows: Float32Array, steps: number): void {
    const width = kvHeads * headSize
    for (let b = 0; b < this.rows; b++) {
      for (let channel = 0; channel < width; channel++) {
        const start = (b * width + channel) * this.capacityValue + this.lengthValue
        for (let t = 0; t < steps; t++) values[start + t] = rows[(b * steps + t) * width + channel]!
      }
    }
  }

  /** Makes room for so many positions. */
  reserve(positions: number): void {
    if (positions <= this.capacityValue) return
    this.resize(Math.ceil(positions / this.step) * this.step)
  }

  /** Slots grow when they are used next: all of them at once would be one long step of a pass in several parts. */
  private resize(capacity: number): void {
    this.revisionValue++
    const shrinks = capacity < this.capacityValue
    const kept = Math.min(this.lengthValue, capacity)
    this.validRows = this.validRows.map((row) => {
      const grown = new Uint8Array(capacity)
      grown.set(row.subarray(0, kept))
      return grown
    })
    this.capacityValue = capacity
    if (shrinks) for (const slot of this.slots.values()) this.fit(slot)
  }

  /** A slot whose buffers are as long as they should be. */
  private slot(name: string): Buffers {
    const slot = this.slots.get(name)
    invariant(slot, `the cache has no slot ${name}`)
    return this.fit(slot)
  }

  private fit(slot: Buffers): Buffers {
    const { kvHeads, headSize, capacity: from } = slot
    const to = this.capacityValue
    if (from === to) return slot
    const kept = Math.min(this.lengthValue, from, to)
    slot.keys = regrouped(slot.keys, this.rows * kvHeads, from, to, kept, headSize)
    slot.values = regrouped(slot.values, this.rows * kvHeads * headSize, from, to, kept, 1)
    slot.capacity = to
    return slot
  }

  private get fitted(): Buffers[] {
    return [...this.slots.values()].map((slot) => this.fit(slot))
  }

  /** Forgets all positions from `length` on. Memory shrinks when several steps are no longer needed. */
  truncate(length: number): void {
    if (!Number.isInteger(length) || length < 0 || length > this.lengthValue) {
      throw new InputError(`cache.truncate: expected a length in [0, ${this.lengthValue}], got ${length}`)
    }
    this.lengthValue = length
    if (this.step === 1) {
      this.resize(length)
      return
    }
    const needed = Math.max(1, Math.ceil(length / this.step)) * this.step
    // Some slack stays: a call that is cut and goes on should not copy its cache each time.
    if (this.capacityValue - needed >= SPARE_STEPS * this.step) this.resize(needed)
  }

  /** An independent copy. */
  fork(): KvCache {
    return this.selectRows(Array.from({ length: this.rows }, (_, row) => row))
  }

  /** A copy whose row i is row ids[i] of this cache (beams). */
  selectRows(ids: readonly number[]): KvCache {
    const copy = new KvCache(this.spec, ids.length, this.step)
    copy.lengthValue = this.lengthValue
    copy.capacityValue = this.capacityValue
    copy.validRows = ids.map((id) => {
      const row = this.validRows[id]
      if (!row) throw new InputError(`cache.selectRows: expected rows in [0, ${this.rows}), got ${id}`)
      return row.slice()
    })
    for (const name of this.slots.keys()) {
      const slot = this.slot(name)
      const width = slot.kvHeads * this.capacityValue * slot.headSize
      const pick = (data: Float32Array) => {
        const picked = new Float32Array(ids.length * width)
        for (const [i, id] of ids.entries()) picked.set(data.subarray(id * width, (id + 1) * width), i * width)
        return picked
      }
      copy.slots.set(name, { ...slot, keys: pick(slot.keys), values: pick(slot.values) })
    }
    return copy
  }

  /**
   * Cuts positions [from, to) out; later keys move to earlier positions, so they are rotated back by `to - from`.
   * Only for caches without padding.
   */
  remove(from: number, to: number, rotate: RotateKey): void {
    if (!(Number.isInteger(from) && Number.isInteger(to) && 0 <= from && from <= to && to <= this.lengthValue)) {
      throw new InputError(`cache.remove: expected 0 ≤ from ≤ to ≤ ${this.lengthValue}, got ${from} to ${to}`)
    }
    invariant(
      !this.validRows.some((row) => row.subarray(0, this.lengthValue).includes(0)),
      "remove from a padded cache",
    )
    this.revisionValue++
    const capacity = this.capacityValue
    for (const { kvHeads, headSize, keys } of this.fitted) {
      for (let bg = 0; bg < this.rows * kvHeads; bg++) {
        const base = bg * capacity
        const end = (base + this.lengthValue) * headSize
        for (let j = to; j < this.lengthValue; j++) {
          rotate(keys.subarray((base + j) * headSize, (base + j + 1) * headSize), from - to)
        }
        keys.copyWithin((base + from) * headSize, (base + to) * headSize, end)
      }
    }
    for (const { kvHeads, headSize, values } of this.fitted) {
      for (let base = 0; base < this.rows * kvHeads * headSize * capacity; base += capacity) {
        values.copyWithin(base + from, base + to, base + this.lengthValue)
      }
    }
    this.truncate(this.lengthValue - (to - from))
  }

  snapshot(): CacheSnapshot {
    return runAtOnce(this.snapshotSteps())
  }

  /** {@link snapshot} in steps, between which the cache must not change. */
  *snapshotSteps(): Generator<undefined, CacheSnapshot, void> {
    const length = this.lengthValue
    const slots: { [name: string]: CacheSnapshot["slots"][string] } = {}
    const isEnough = bytesPerStep()
    for (const name of this.slots.keys()) {
      const { kvHeads, headSize, keys, values } = this.slot(name)
      const groups = this.rows * kvHeads
      const packed = regrouped(values, groups * headSize, this.capacityValue, length, length, 1)
      slots[name] = {
        keys: regrouped(keys, groups, this.capacityValue, length, length, headSize),
        values: transposed(packed, groups, headSize, length),
      }
      if (isEnough(4 * packed.byteLength)) yield undefined
    }
    const valid = new Uint8Array(this.rows * this.lengthValue)
    for (const [b, row] of this.validRows.entries()) valid.set(row.subarray(0, this.lengthValue), b * this.lengthValue)
    return { rows: this.rows, length: this.lengthValue, valid, slots }
  }

  /** @throws InputError when the snapshot is of another model or another number of rows */
  restore(snapshot: CacheSnapshot): void {
    runAtOnce(this.restoreSteps(snapshot))
  }

  /** {@link restore} in steps; between them, and when they are abandoned, the cache is of no use. */
  *restoreSteps(snapshot: CacheSnapshot): Generator<undefined, void, void> {
    const { rows, length, valid, slots } = snapshot
    if (rows !== this.rows) throw new InputError(`cache.restore: expected ${this.rows} rows, got ${rows}`)
    const [known, given] = [[...this.slots.keys()], Object.keys(slots)]
    for (const [name, { kvHeads, headSize }] of this.slots) {
      const expected = rows * kvHeads * length * headSize
      const saved = slots[name]
      const got = [saved?.keys.length, saved?.values.length].find((size) => size !== expected)
      if (!saved || got !== undefined) {
        throw new InputError(`cache.restore: expected ${expected} values for ${name}, got ${got ?? "none"}`)
      }
    }
    if (given.length !== known.length) {
      throw new InputError(`cache.restore: expected slots ${known.join(", ")}, got ${given.join(", ")}`)
    }
    if (valid.length !== rows * length) {
      throw new InputError(`cache.restore: expected ${rows * length} marks of valid positions, got ${valid.length}`)
    }
    this.truncate(0)
    this.reserve(length)
    this.revisionValue++
    this.lengthValue = length
    const isEnough = bytesPerStep()
    for (const [name, slot] of this.slots) {
      const { kvHeads, headSize } = slot
      const groups = rows * kvHeads
      const saved = slots[name]!
      slot.capacity = this.capacityValue
      slot.keys = regrouped(saved.keys, groups, length, this.capacityValue, length, headSize)
      const lines = transposed(saved.values, groups, length, headSize)
      slot.values = regrouped(lines, groups * headSize, length, this.capacityValue, length, 1)
      if (isEnough(4 * lines.byteLength)) yield undefined
    }
    for (let b = 0; b < rows; b++) this.validRows[b]!.set(valid.subarray(b * length, (b + 1) * length))
  }
}

/** Copies `kept` positions of each group from buffers of one capacity to another. */
function regrouped(
  data: Float32Array,
  groups: number,
  from: number,
  to: number,
  kept: number,
  headSize: number,
): Float32Array {
  const out = new Float32Array(groups * to * headSize)
  for (let i = 0; i < groups; i++) {
    const start = i * from * headSize
    out.set(data.subarray(start, start + kept * headSize), i * to * headSize)
  }
  return out
}

/** Rows at a time: a cache line is written whole, and lines that are read stay in the processor's cache meanwhile. */
const TILE = 16

/** Swaps the axes of each group's matrix: [groups, rows, columns] → [groups, columns, rows]. */
function transposed(data: Float32Array, groups: number, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length)
  for (let base = 0; base < groups * rows * columns; base += rows * columns) {
    for (let r0 = 0; r0 < rows; r0 += TILE) {
      const end = Math.min(rows, r0 + TILE)
      for (let c = 0; c < columns; c++) {
        for (let r = r0; r < end; r++) out[base + c * rows + r] = data[base + r * columns + c]!
      }
    }
  }
  return out
}
