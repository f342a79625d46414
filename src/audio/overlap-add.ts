/**
 * @file Joining pieces of speech that were decoded with a common stretch: a linear cross-fade.
 * Source: `_linear_overlap_add2_wav` of the official code, whose normalized triangular weights reduce to this.
 */
import { ShapeError } from "../util/index.ts"

/**
 * Fades from the end of `a` to the start of `b` over `overlap` samples; outside them nothing changes.
 * @returns the first a.length joined samples, and the b.length - overlap that follow
 * @throws ShapeError when a piece is shorter than the overlap
 */
export function crossFade(
  a: Float32Array,
  b: Float32Array,
  overlap: number,
): { out: Float32Array; rest: Float32Array } {
  if (a.length < overlap || b.length < overlap) {
    throw new ShapeError(`crossFade: expected pieces of at least ${overlap} samples, got ${a.length} and ${b.length}`)
  }
  const out = a.slice()
  const start = a.length - overlap
  for (let n = 0; n < overlap; n++) {
    out[start + n] = (a[start + n]! * (overlap - n) + b[n]! * (n + 1)) / (overlap + 1)
  }
  return { out, rest: b.slice(overlap) }
}

/**
 * When the first piece leaves: `hold` keeps it until the second is there (the official code), `emit-early` keeps only
 * the part that the second will change. The samples are the same, the cuts differ.
 */
export type FirstPiece = "hold" | "emit-early"

/** Delivers overlapping pieces as one signal. */
export type CrossFader = {
  /** Samples of the last piece that wait for the next one; 0 before the first. */
  readonly heldSamples: number
  /** @returns samples ready to play, perhaps none */
  push(piece: Float32Array): Float32Array
  /** @returns what is held; afterwards a new signal may begin */
  flush(): Float32Array
}

/**
 * @param overlapSamples how much of each later piece repeats the end of the one before
 * @returns a fader whose `push` throws ShapeError when a piece is shorter than the overlap
 */
export function createCrossFader(overlapSamples: number, firstPiece: FirstPiece): CrossFader {
  let held: Float32Array | undefined
  return {
    get heldSamples() {
      return held?.length ?? 0
    },
    push(piece) {
      if (held) {
        const { out, rest } = crossFade(held, piece, overlapSamples)
        held = rest
        return out
      }
      const cut = firstPiece === "hold" ? 0 : Math.max(0, piece.length - overlapSamples)
      held = piece.slice(cut)
      return piece.slice(0, cut)
    },
    flush() {
      const out = held ?? new Float32Array(0)
      held = undefined
      return out
    },
  }
}
