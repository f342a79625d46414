/** @file Sound of a Realtime session, cut into pieces that the engine takes at once. */
import type { Sound } from "../session/index.ts"

/** Longer pieces are given in parts: the engine brings each to its rate at once, which no call may wait for. */
const LONGEST_PIECE_MS = 10_000

/** Sound on the session's clock. */
export type Piece = { readonly pcm: Float32Array; readonly ms: number; readonly clockMs: number }

/** @param clockMs where it begins */
export function* piecesOf({ pcm, sampleRateHz }: Sound, clockMs: number): Generator<Piece> {
  const most = (LONGEST_PIECE_MS * sampleRateHz) / 1000
  for (let at = 0; at < pcm.length; at += most) {
    const piece = pcm.length > most ? pcm.slice(at, at + most) : pcm
    yield {
      pcm: piece,
      ms: (piece.length * 1000) / sampleRateHz,
      clockMs: clockMs + (at * 1000) / sampleRateHz,
    }
  }
}
