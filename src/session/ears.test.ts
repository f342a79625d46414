/** @file What a call takes in, against a list of what was pushed. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { concatPcm, resample } from "../audio/index.ts"
import { Ears, type Heard, UNIT_SAMPLES } from "./ears.ts"

const RATES = [8000, 16_000, 24_000, 44_100, 48_000]
const seconds = (count: number, level = 0) => new Float32Array(count * UNIT_SAMPLES).fill(level)

describe("ears that nobody reads from", () => {
  test("keep the last minute of sound and all text, and tell what they drop, whatever comes", () => {
    const input = fc.oneof(
      fc.record({ pcm: fc.integer({ min: 1, max: 40 }).map((quarters) => seconds(quarters / 4)) }),
      fc.record({ text: fc.string({ minLength: 1, maxLength: 3 }) }),
      fc.constant("end" as const),
    )
    fc.assert(
      fc.property(fc.array(input, { maxLength: 40 }), (inputs) => {
        const ears = new Ears(UNIT_SAMPLES)
        let [pushed, dropped] = [0, 0]
        for (const one of inputs) {
          if (one === "end") ears.endTurn("sound")
          else dropped += ears.take(ears.prepare(one))
          if (one !== "end" && "pcm" in one) pushed += one.pcm.length
        }
        const { ready, rest } = ears.data
        const kept = ready.reduce((sum, { pcm }) => sum + (pcm?.length ?? 0), rest.length)
        expect(kept + (dropped / 1000) * UNIT_SAMPLES).toBe(pushed)
        if (dropped > 0) expect(kept).toBeGreaterThanOrEqual(60 * UNIT_SAMPLES)
        expect(ready.flatMap(({ text }) => text ?? [])).toEqual(
          inputs.flatMap((one) => (one !== "end" && "text" in one ? one.text : [])),
        )
        const ends = inputs.filter((one) => one === "end").length
        expect(ready.flatMap(({ turnEnd }) => turnEnd?.turn ?? [])).toEqual(
          Array.from({ length: ends }, (_, i) => i + 1),
        )
      }),
    )
  })

  test("keep all of one long push, and drop its oldest second by second afterwards", () => {
    const ears = new Ears(UNIT_SAMPLES)
    const sound = Float32Array.from({ length: 90 * UNIT_SAMPLES }, (_, i) => i)
    expect(ears.take(ears.prepare({ pcm: sound }))).toBe(0)
    expect(concatPcm(ears.data.ready.map(({ pcm }) => pcm!))).toEqual(sound)
    // A minute more may wait beside it.
    expect(ears.take(ears.prepare({ pcm: seconds(60) }))).toBe(0)
    expect(ears.take(ears.prepare({ pcm: seconds(1) }))).toBe(1000)
    ears.remove(ears.peek(90))
    expect(ears.take(ears.prepare({ pcm: seconds(1) }))).toBe(1000)
  })
})

/** All sound that ears have got, when the turn ends. */
function soundIn(ears: Ears): Float32Array {
  ears.flush()
  const { ready, rest } = ears.data
  return concatPcm([...ready.flatMap(({ pcm }) => pcm ?? []), rest])
}

describe("typed text", () => {
  const frame = (value: number) => ({ width: 1, height: 1, data: new Uint8Array(3).fill(value) })
  const input = fc.oneof(
    fc.integer({ min: 1, max: 30_000 }).map((length) => ({ pcm: seconds(2).subarray(0, length) })),
    fc.nat(255).map((value) => ({ frame: frame(value) })),
    fc.string({ minLength: 1, maxLength: 3 }).map((text) => ({ text })),
    fc.record({ pcm: fc.constant(seconds(0.3)), text: fc.constant("with sound") }),
  )

  test.each([16_000, 48_000])("comes behind all that was said and shown before it, at %i Hz", (rate) => {
    fc.assert(
      fc.property(fc.array(input, { maxLength: 15 }), (inputs) => {
        const ears = new Ears(rate)
        let pushed = 0
        let latest: unknown
        const expected: { text: string; samples: number; frame: unknown }[] = []
        let length = 0
        const heardBy = () => length + Math.ceil((pushed * UNIT_SAMPLES) / rate)
        for (const one of inputs) {
          ears.take(ears.prepare(one))
          if ("pcm" in one) pushed += one.pcm.length
          if ("frame" in one) latest = one.frame
          if (!("text" in one)) continue
          expected.push({ text: one.text, samples: heardBy(), frame: latest })
          // The resampler begins anew.
          length = heardBy()
          pushed = 0
        }
        let [samples, seen] = [0, undefined as unknown]
        const got: typeof expected = []
        for (const { pcm, frame: shown, text } of ears.data.ready) {
          samples += pcm?.length ?? 0
          if (shown) seen = shown
          if (text !== undefined) got.push({ text, samples, frame: seen })
        }
        expect(got).toEqual(expected)
      }),
    )
  })

  test("does not cut sound that voice activity listens to", () => {
    const ears = new Ears(48_000)
    const sound = Float32Array.from({ length: 6000 }, (_, i) => Math.sin(i / 9))
    const pieces = [sound.subarray(0, 2500), sound.subarray(2500)].map((pcm) => ears.prepare({ pcm, text: "x" }, true))
    const { length } = pieces[0]!.pcm!
    expect(concatPcm(pieces.map(({ pcm }) => pcm!))).toEqual(
      resample(sound, 48_000, UNIT_SAMPLES).subarray(0, length + pieces[1]!.pcm!.length),
    )
  })
})

describe("the last frame of a question", () => {
  const frame = (value: number) => ({ width: 1, height: 1, data: new Uint8Array(3).fill(value) })

  test("stays until the question is answered, however often that fails and whatever is said meanwhile", () => {
    const step = fc.constantFrom("sound", "frame", "ask", "answer", "save")
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        let ears = new Ears(UNIT_SAMPLES)
        let latest: object | undefined
        for (const [i, one] of steps.entries()) {
          if (one === "sound") ears.take({ pcm: seconds(0.7) })
          if (one === "save") ears = new Ears(UNIT_SAMPLES, structuredClone(ears.data))
          if (one === "frame") {
            latest = frame(i)
            ears.take({ frame: frame(i) })
          }
          if (one !== "ask" && one !== "answer") continue
          const turn = ears.endTurn("hand")
          expect(ears.data.ready.at(-1)?.turnEnd).toEqual({ turn, ...(latest ? { lastFrame: latest } : {}) })
          if (one === "ask") continue
          for (let heard = ears.peekTurn(turn, 9); heard.length > 0; heard = ears.peekTurn(turn, 9)) ears.remove(heard)
          ears.answer(turn)
          latest = undefined
        }
      }),
    )
  })

  test("is of one end, asked for twice", () => {
    const ears = new Ears(UNIT_SAMPLES)
    ears.take({ frame: frame(1), pcm: seconds(1.5) })
    expect([ears.endTurn("hand"), ears.endTurn("hand")]).toEqual([1, 1])
    expect(ears.data.ready.length).toBe(2)
    ears.take({ pcm: seconds(0.1) })
    expect(ears.endTurn("hand")).toBe(2)
  })
})

describe("a question that was found in the sound", () => {
  const frame = { width: 1, height: 1, data: new Uint8Array(3) }
  const asked = (...behind: Heard[]) => {
    const ears = new Ears(UNIT_SAMPLES)
    ears.take({ pcm: seconds(1.5) })
    ears.endTurn("sound")
    for (const one of behind) ears.take(one)
    const turn = ears.askedTurn()
    expect(ears.askedTurn()).toBe(turn) // asked again, it is the same
    const end = ears.data.ready.findIndex(({ turnEnd }) => turnEnd?.turn === turn)
    return ears.data.ready.slice(2, end + 1).map(({ turnEnd: _, ...item }) => item)
  }

  test("has what was typed and shown behind it, and no sound that came later", () => {
    expect(asked()).toEqual([])
    expect(asked({ text: "a" }, { text: "b" })).toEqual([{ text: "a" }, { text: "b" }, {}])
    expect(asked({ frame })).toEqual([{ frame }])
    expect(asked({ pictures: [frame], text: "a" })).toEqual([{ frame }, { text: "a" }, {}])
    expect(asked({ pcm: seconds(2) }, { frame })).toEqual([])
    expect(asked({ text: "a" }, { pcm: seconds(0.5) })).toEqual([{ text: "a" }, {}])
  })

  test("was answered: nothing is asked any more", () => {
    const ears = new Ears(UNIT_SAMPLES)
    ears.take({ pcm: seconds(1) })
    ears.answer(ears.endTurn("sound"))
    ears.take({ text: "a" })
    expect(ears.askedTurn()).toBeUndefined()
  })
})

describe("saved ears", () => {
  const noise = (samples: number) => Float32Array.from({ length: samples }, (_, i) => Math.sin(i * i))
  const sizes = fc.array(fc.integer({ min: 0, max: 9000 }), { maxLength: 8 })

  test.each(RATES)("hear as if nobody had saved them, at %i Hz", (rate) => {
    fc.assert(
      fc.property(sizes, fc.nat(), (lengths, restored) => {
        const pcm = noise(lengths.reduce((sum, length) => sum + length, 0))
        let ears = new Ears(rate)
        let at = 0
        for (const [i, length] of lengths.entries()) {
          ears.take(ears.prepare({ pcm: pcm.subarray(at, at + length) }))
          at += length
          const { data } = ears
          expect(ears.data).toEqual(data)
          if ((restored >> i) % 2 === 1) ears = new Ears(rate, structuredClone(data))
        }
        expect(soundIn(ears)).toEqual(resample(pcm, rate, UNIT_SAMPLES))
      }),
      { numRuns: 30 },
    )
  })

  test("lose nothing when they go on at another rate", () => {
    const ears = new Ears(48_000)
    ears.take(ears.prepare({ pcm: noise(50_000) }))
    const other = new Ears(24_000, ears.data)
    other.take(other.prepare({ pcm: noise(2400) }))
    expect(soundIn(other).length).toBe(Math.ceil(50_000 / 3) + 1600)
  })

  test("of an earlier version, without a resampler's state, begin a new signal", () => {
    const { resampler: _, ...data } = new Ears(48_000).data
    const ears = new Ears(48_000, data)
    ears.take(ears.prepare({ pcm: noise(4800) }))
    expect(soundIn(ears)).toEqual(resample(noise(4800), 48_000, UNIT_SAMPLES))
  })

  test.each(RATES)("go on behind what was kept as if the rest had never been said, at %i Hz", (rate) => {
    const [said, cleared] = [new Ears(rate), new Ears(rate)]
    for (const ears of [said, cleared]) ears.take(ears.prepare({ pcm: noise(10_001) }))
    cleared.keep()
    cleared.take(cleared.prepare({ pcm: noise(70_003) }))
    cleared.clear()
    for (const ears of [said, cleared]) ears.take(ears.prepare({ pcm: noise(5001) }))
    expect(soundIn(cleared)).toEqual(soundIn(said))
  })
})

describe("pictures", () => {
  const picture = (width: number) => ({ width, height: 1, data: new Uint8Array(3 * width) })

  test("are all seen, behind what came before them and before what comes with them", () => {
    const ears = new Ears(UNIT_SAMPLES)
    ears.take(ears.prepare({ pcm: seconds(0.5), frame: picture(1) }))
    ears.take(ears.prepare({ pictures: [picture(2), picture(3)], frame: picture(4), pcm: seconds(1), text: "these" }))
    const order = ears.data.ready.map(({ pcm, frame, text }) => [pcm?.length ?? 0, frame?.width, text])
    expect(order).toEqual([
      [UNIT_SAMPLES / 2, 1, undefined],
      [0, 2, undefined],
      [0, 3, undefined],
      [UNIT_SAMPLES, 4, undefined],
      [0, undefined, "these"],
    ])
  })

  test("of a camera replace each other until a second is full", () => {
    const ears = new Ears(UNIT_SAMPLES)
    for (const width of [1, 2, 3]) ears.take(ears.prepare({ frame: picture(width) }))
    ears.take(ears.prepare({ pcm: seconds(1) }))
    expect(ears.data.ready.map(({ frame }) => frame?.width)).toEqual([3])
  })

  test("must be whole", () => {
    const broken = { ...picture(2), data: new Uint8Array(5) }
    expect(() => new Ears(UNIT_SAMPLES).prepare({ pictures: [picture(1), broken] })).toThrow("call.push: pictures")
  })
})
