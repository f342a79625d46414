import fc from "fast-check"
import { expect, test } from "vitest"
import { type RgbImage, rgbImage } from "../image/index.ts"
import { mediaUnits } from "./units.ts"

const frame = (level: number): RgbImage => rgbImage(1, 1, Uint8Array.of(level, level, level))
const sound = (samples: number): Float32Array => Float32Array.from({ length: samples }, (_, i) => (i % 9973) + 1)

async function unitsOf(streams: Parameters<typeof mediaUnits>[0]) {
  const units: { pcm: Float32Array; level: number | undefined }[] = []
  for await (const { pcm, frame } of mediaUnits(streams)) units.push({ pcm, level: frame?.data[0] })
  return units
}

test("frame i comes with second i, however the sound is cut", async () => {
  const pieces = fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(pieces, fc.nat(6), async (sizes, frames) => {
      const total = sizes.reduce((sum, size) => sum + size, 0)
      const whole = sound(total)
      const ends = sizes.map((_, i) => sizes.slice(0, i + 1).reduce((sum, size) => sum + size, 0))
      const audio = sizes.map((size, i) => whole.subarray(ends[i]! - size, ends[i]!))
      const units = await unitsOf({ audio, video: Array.from({ length: frames }, (_, i) => frame(i)) })
      const seconds = Math.ceil(total / 16_000)
      expect(units.map(({ level }) => level)).toEqual(
        Array.from({ length: Math.max(seconds, frames) }, (_, i) => (i < frames ? i : undefined)),
      )
      units.forEach(({ pcm }, i) => {
        const expected = whole.slice(16_000 * i, 16_000 * (i + 1))
        expect(pcm.subarray(0, expected.length)).toEqual(expected)
        expect(pcm.subarray(expected.length).every((sample) => sample === 0)).toBe(true)
        const rest = i === units.length - 1 && expected.length > 0
        expect(pcm.length).toBe(rest ? expected.length : 16_000)
      })
    }),
    { numRuns: 40 },
  )
})

test("sound alone, pictures alone, and nothing", async () => {
  expect((await unitsOf({ audio: [sound(20_000)] })).map(({ pcm }) => pcm.length)).toEqual([16_000, 4000])
  expect(await unitsOf({ video: [frame(5)] })).toEqual([{ pcm: new Float32Array(16_000), level: 5 }])
  expect(await unitsOf({})).toEqual([])
})

test("stopping early ends both sources", async () => {
  const ended: string[] = []
  async function* endless<T>(name: string, item: T): AsyncGenerator<T> {
    try {
      for (;;) yield item
    } finally {
      ended.push(name)
    }
  }
  for await (const unit of mediaUnits({ audio: endless("audio", sound(999)), video: endless("video", frame(1)) })) {
    expect(unit.pcm.length).toBe(16_000)
    break
  }
  expect(ended).toEqual(["audio", "video"])
})
