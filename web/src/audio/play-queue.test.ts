/** @file Laws of the play queue over random reads, writes and flushes. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { PlayQueue } from "./play-queue.ts"

const action = fc.oneof(
  fc.record({ do: fc.constant("enqueue" as const), id: fc.constantFrom("a", "b", "c"), size: fc.nat(300) }),
  fc.record({ do: fc.constant("read" as const), size: fc.integer({ min: 1, max: 128 }) }),
)

test("samples come out in order, once, and are counted for their item", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const queue = new PlayQueue()
      const written: { id: string; value: number }[] = []
      const heard: number[] = []
      for (const one of actions) {
        if (one.do === "enqueue") {
          const pcm = Float32Array.from({ length: one.size }, (_, i) => written.length + i + 1)
          for (const value of pcm) written.push({ id: one.id, value })
          queue.enqueue(one.id, pcm)
          continue
        }
        const out = new Float32Array(one.size).fill(-1)
        const waiting = queue.pending
        expect(queue.read(out)).toBe(waiting > 0)
        const sound = Math.min(waiting, one.size)
        heard.push(...out.subarray(0, sound))
        expect(out.subarray(sound).every((sample) => sample === 0)).toBe(true)
      }
      expect(heard).toEqual(written.slice(0, heard.length).map(({ value }) => value))
      expect(queue.pending).toBe(written.length - heard.length)
      for (const { id, samples } of queue.takeChanges()) {
        expect(samples).toBe(written.slice(0, heard.length).filter((one) => one.id === id).length)
      }
      expect(queue.takeChanges()).toEqual([])
    }),
  )
})

test("a flush plays its fade and nothing more, and says so before", () => {
  fc.assert(
    fc.property(fc.nat(400), fc.nat(400), fc.integer({ min: 1, max: 200 }), (size, before, fade) => {
      const queue = new PlayQueue()
      queue.enqueue("a", new Float32Array(size).fill(1))
      queue.enqueue("b", new Float32Array(10).fill(1))
      if (before > 0) queue.read(new Float32Array(before))
      const waiting = queue.pending
      const told = new Map(queue.flush(fade).map(({ id, samples }) => [id, samples]))
      expect(queue.pending).toBeLessThanOrEqual(Math.min(fade, waiting))
      const out = new Float32Array(700)
      const rest = queue.pending
      queue.read(out)
      for (let i = 1; i < rest; i++) expect(out[i]!).toBeLessThan(out[i - 1]!)
      if (rest > 0) expect(out[rest - 1]).toBe(0)
      expect(queue.pending).toBe(0)
      const played = new Map(queue.takeChanges().map(({ id, samples }) => [id, samples]))
      for (const [id, samples] of told) expect(played.get(id) ?? 0).toBe(samples)
      expect(told.size > 0).toBe(waiting > 0)
    }),
  )
})
