/** @file Seeded randomness: the same seed gives the same draws on every machine. */

/** Numbers in [0, 1) with 32 random bits. Source: sfc32, PractRand (C. Doty-Humphrey), public domain. */
export function createRandom(seed: number): () => number {
  let a = seed >>> 0
  let b = (seed / 2 ** 32) >>> 0
  let c = 0x9e3779b9
  let counter = 1
  const next = () => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (c << 21) | (c >>> 11)
    c = (c + sum) | 0
    return (sum >>> 0) / 2 ** 32
  }
  for (let i = 0; i < 16; i++) next() // mix the seed in
  return next
}
