import fc from "fast-check"
import { expect, test } from "vitest"
import { ItemSounds, RecentSound } from "./item-sounds.ts"

const ramp = (from: number, count: number) => Float32Array.from({ length: count }, (_, i) => (from + i) / 32_768)

test("however sound came, what lies between two times is found", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 20 }),
      fc.nat(3000),
      fc.nat(3000),
      (sizes, a, b) => {
        const recent = new RecentSound()
        let total = 0
        for (const size of sizes) {
          recent.push(ramp(total, size), 1000) // a sample per millisecond
          total += size
        }
        const [from, to] = [Math.min(a, b), Math.min(total, Math.max(a, b))]
        const cut = recent.cut(from, to)
        expect([...(cut?.pcm ?? [])].map((value) => value * 32_768)).toEqual(
          from < to ? Array.from({ length: to - from }, (_, i) => from + i) : [],
        )
      },
    ),
  )
})

test("sound of several rates is one piece at the last of them", () => {
  const recent = new RecentSound()
  recent.push(new Float32Array(2400).fill(0.5), 24_000)
  recent.push(new Float32Array(800).fill(0.5), 8000)
  const cut = recent.cut(50, 200)!
  expect([cut.sampleRateHz, cut.startMs]).toEqual([8000, 50])
  expect(Math.abs(cut.pcm.length - 1200)).toBeLessThanOrEqual(1)
  // Away from the joint, where each piece has an end of its own.
  expect(Math.abs(cut.pcm[200]! - 0.5)).toBeLessThan(0.01)
  expect(recent.cut(150, 200)!.startMs).toBe(150)
})

test("forgets the oldest beyond its length", () => {
  const recent = new RecentSound(1000)
  for (let i = 0; i < 30; i++) recent.push(ramp(i * 100, 100), 1000)
  expect(recent.cut(0, 500)).toBeUndefined()
  expect(recent.cut(2000, 3000)!.pcm).toHaveLength(1000)
  expect(recent.cut(0, 3000)!.startMs).toBe(1900)
  const items = new ItemSounds(250)
  for (const id of ["a", "b", "c"]) items.set(id, { pcm: ramp(0, 100), sampleRateHz: 1000 })
  expect(["a", "b", "c"].map((id) => items.get(id)?.pcm.length)).toEqual([undefined, 100, 100])
  items.delete("b")
  items.set("d", { pcm: ramp(0, 150), sampleRateHz: 1000 })
  expect(items.get("c")!.pcm).toHaveLength(100)
})
