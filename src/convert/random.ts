/**
 * @file Random weights, fast and the same everywhere: 16-bit draws mapped through tables of normal quantiles. A tensor's
 * values follow from the seed and its name alone.
 */
import { allocate, type DType, narrowFromF32 } from "../tensor/index.ts"
import { invariant } from "../util/index.ts"

/** A stream of random bits. */
export type RandomBits = {
  /** Overwrites every element. */
  fill(words: Uint32Array): void
}

/** The stream of a name under a seed. Source: Marsaglia's xorshift128. */
export function randomBits(seed: number, name: string): RandomBits {
  const mixed = seedMixer(seed, name)
  let x = mixed()
  let y = mixed()
  let z = mixed()
  let w = mixed() | 1 // a state of zeros would stay zero
  return {
    fill(words) {
      for (let i = 0; i < words.length; i++) {
        let t = x ^ (x << 11)
        t ^= t >>> 8
        x = y
        y = z
        z = w
        w ^= (w >>> 19) ^ t
        words[i] = w
      }
    },
  }
}

/** FNV-1a over seed and name, then a finalizer per draw, so that near names give unrelated streams. */
function seedMixer(seed: number, name: string): () => number {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(`${seed}:${name}`)) hash = Math.imul(hash ^ byte, 0x01000193)
  return () => {
    hash = (hash + 0x9e3779b9) | 0
    let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
    return mixed ^ (mixed >>> 16)
  }
}

/**
 * The standard normal's quantiles at (i + ½) / count, by walking along its distribution in small steps: symmetric, so
 * that a uniform index gives mean 0 exactly.
 */
function normalQuantiles(count: number): Float64Array {
  const quantiles = new Float64Array(count)
  const step = 1 / 8192
  let at = 0
  let mass = 0.5
  let density = 1
  for (let i = count / 2; i < count; i++) {
    const wanted = (i + 0.5) / count
    for (;;) {
      const nextDensity = Math.exp(-0.5 * (at + step) ** 2)
      const slice = (step * (density + nextDensity)) / 2 / Math.sqrt(2 * Math.PI)
      if (mass + slice >= wanted) {
        quantiles[i] = at + (step * (wanted - mass)) / slice
        quantiles[count - 1 - i] = -quantiles[i]!
        break
      }
      mass += slice
      density = nextDensity
      at += step
    }
  }
  return quantiles
}

let quantiles16: Float64Array | undefined

/** 65,536 equally likely values of a normal; a uniform 16-bit draw picks one. */
function normalTable<D extends "bf16" | "f32">(dtype: D, mean: number, deviation: number) {
  quantiles16 ??= normalQuantiles(65536)
  return narrowFromF32(
    dtype,
    Float32Array.from(quantiles16, (value) => mean + deviation * value),
  )
}

/** Deviation of random int8 codes: rows reach 127 at 3.9 deviations, as real ones do. */
export const INT8_CODE_DEVIATION = 32.5
/** Deviation of random int4 codes: 16 equally likely quantiles of this normal reach from -5 to 5. */
export const INT4_CODE_DEVIATION = 3

/** Two int8 codes per 16-bit draw; `offset` is added to what is stored. */
function int8Table(offset: number): Uint16Array {
  const codes = normalQuantiles(256).map((value) => Math.round(value * INT8_CODE_DEVIATION) + offset)
  return Uint16Array.from({ length: 65536 }, (_, bits) => (codes[bits & 255]! & 255) | ((codes[bits >> 8]! & 255) << 8))
}

/** Four int4 codes (stored + 8) per 16-bit draw. */
function int4Table(): Uint16Array {
  const codes = normalQuantiles(16).map((value) => Math.round(value * INT4_CODE_DEVIATION) + 8)
  return Uint16Array.from({ length: 65536 }, (_, bits) =>
    [0, 4, 8, 12].reduce((word, shift) => word | (codes[(bits >> shift) & 15]! << shift), 0),
  )
}

/** What random elements look like: a normal of floats, or quantized codes. */
export type Distribution =
  | { readonly kind: "normal"; readonly dtype: DType; readonly mean: number; readonly deviation: number }
  | { readonly kind: "int8-codes" }
  /** Stored + 128. */
  | { readonly kind: "int8-blocks-codes" }
  | { readonly kind: "int4-codes" }

/** Bytes drawn at a time. */
const CHUNK_BYTES = 8 * 2 ** 20

const tables = new Map<string, Uint16Array | Float32Array>()

function tableOf(wanted: Distribution): Uint16Array | Float32Array {
  const key = JSON.stringify(wanted)
  let table = tables.get(key)
  if (!table) {
    if (wanted.kind === "int8-codes") table = int8Table(0)
    else if (wanted.kind === "int8-blocks-codes") table = int8Table(128)
    else if (wanted.kind === "int4-codes") table = int4Table()
    else {
      const { dtype, mean, deviation } = wanted
      invariant(dtype === "bf16" || dtype === "f32", `random: expected bf16 or f32, got ${dtype}`)
      table = normalTable(dtype, mean, deviation) as Uint16Array | Float32Array
    }
    tables.set(key, table)
  }
  return table
}

/**
 * `sizeBytes` bytes of random elements, in pieces. Two buffers take turns: a piece is valid until the one after the next.
 */
export function* randomPieces(
  bits: RandomBits,
  wanted: Distribution,
  sizeBytes: number,
): Generator<Uint8Array, void, undefined> {
  const table = tableOf(wanted)
  const buffers = [0, 1].map(() => new ArrayBuffer(Math.min(CHUNK_BYTES, Math.ceil(sizeBytes / 4) * 4)))
  for (let done = 0, turn = 0; done < sizeBytes; done += CHUNK_BYTES, turn ^= 1) {
    const length = Math.min(CHUNK_BYTES, sizeBytes - done)
    const buffer = buffers[turn]!
    if (table instanceof Float32Array) {
      const draws = new Uint32Array(buffer, 0, Math.ceil(length / 4))
      bits.fill(draws)
      const out = new Float32Array(buffer)
      for (let i = 0; i < draws.length; i++) out[i] = table[draws[i]! >>> 16]!
    } else {
      bits.fill(new Uint32Array(buffer, 0, Math.ceil(length / 4)))
      const out = new Uint16Array(buffer, 0, Math.ceil(length / 2))
      for (let i = 0; i < out.length; i++) out[i] = table[out[i]!]!
    }
    yield new Uint8Array(buffer, 0, length)
  }
}

/** A whole random array at once, for small ones. */
export function randomArray<D extends DType>(
  dtype: D,
  length: number,
  seed: number,
  name: string,
  wanted: Distribution,
) {
  const out = allocate(dtype, length)
  const bytes = new Uint8Array(out.buffer)
  let at = 0
  for (const piece of randomPieces(randomBits(seed, name), wanted, bytes.length)) {
    bytes.set(piece, at)
    at += piece.length
  }
  return out
}
