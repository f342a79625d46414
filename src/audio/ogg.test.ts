/** @file Ogg files as they are in the wild: chains, long tags, other pages, gain, and headers that lie. */
import { readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test, vi } from "vitest"
import { InputError } from "../util/index.ts"
import { decodeAudio } from "./decode.ts"
import { oggLinks, oggPackets, oggPages } from "./ogg.ts"

const fixture = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`../../test/fixtures/audio/${name}`, import.meta.url)))

/** A stream of these packets in pages of so many parts; each page says where the stream's last one ended. */
function paginate(packets: readonly Uint8Array[], options: { granule: bigint; partsPerPage: number }): Uint8Array {
  const parts = packets.flatMap((packet) => {
    const sizes = new Array<number>(Math.floor(packet.length / 255)).fill(255)
    return [...sizes, packet.length % 255]
  })
  const data = Buffer.concat(packets)
  const pages: Uint8Array[] = []
  let at = 0
  // The head has a page of its own.
  for (let first = 0; first < parts.length; first += first === 0 ? 1 : options.partsPerPage) {
    const lacing = parts.slice(first, first === 0 ? 1 : first + options.partsPerPage)
    const size = lacing.reduce((sum, part) => sum + part, 0)
    const header = Buffer.alloc(27)
    header.write("OggS")
    const isLast = first + lacing.length >= parts.length && first > 0
    header[5] = (first === 0 ? 2 : 0) | (isLast ? 4 : 0)
    header.writeBigInt64LE(lacing.some((part) => part < 255) ? (first === 0 ? 0n : options.granule) : -1n, 6)
    header.writeUInt32LE(pages.length, 18)
    header[26] = lacing.length
    pages.push(header, Uint8Array.from(lacing), data.subarray(at, at + size))
    at += size
  }
  return new Uint8Array(Buffer.concat(pages))
}

const packetsOf = (name: string) => [...oggPackets(fixture(name))]
const granuleOf = (name: string) => [...oggPages(fixture(name))].at(-1)!.granule
const samplesOf = async (bytes: Uint8Array) => (await decodeAudio(bytes)).pcm

describe.each(["sine.opus", "sine.ogg"])("%s", (name) => {
  test("again behind itself is heard twice", async () => {
    const once = await samplesOf(fixture(name))
    const { pcm, damaged } = await decodeAudio(new Uint8Array(Buffer.concat([fixture(name), fixture(name)])))
    expect([pcm.subarray(0, once.length), pcm.subarray(once.length)]).toEqual([once, once])
    expect(damaged).toBe(false)
    await expect(
      decodeAudio(new Uint8Array(Buffer.concat([fixture(name), fixture(name)])), { maxSeconds: 0.9 }),
    ).rejects.toThrow("audio: expected at most 0.9 s of sound, got 1.0 s")
  })

  test("a thousand times is the most", async () => {
    const head = fixture(name).subarray(0, [...oggPages(fixture(name))][0]!.end)
    const page = fixture(name).subarray(head.length, [...oggPages(fixture(name))][1]!.end)
    const chain = new Uint8Array(Buffer.concat(new Array<Uint8Array[]>(1001).fill([head, page]).flat()))
    await expect(decodeAudio(chain)).rejects.toThrow(
      "audio: expected at most 1000 streams in an Ogg file, got more (cut it)",
    )
  })
})

describe("opus", () => {
  const [head, tags, ...sound] = packetsOf("sine.opus")
  const granule = granuleOf("sine.opus")
  const changed = (edit: (copy: Buffer) => void): Uint8Array => {
    const copy = Buffer.from(head!)
    edit(copy)
    return copy
  }

  test("with a picture among its tags, in pages of any size", async () => {
    const want = await samplesOf(fixture("sine.opus"))
    const picture = new Uint8Array(Buffer.concat([tags!, Buffer.alloc(200_000, 65)]))
    for (const partsPerPage of [1, 2, 17, 255]) {
      const got = await decodeAudio(paginate([head!, picture, ...sound], { granule, partsPerPage }))
      expect(got).toEqual({ pcm: want, sampleRateHz: 48_000, format: "ogg-opus", damaged: false })
    }
  })

  test("is as loud as its head says", async () => {
    const want = await samplesOf(fixture("sine.opus"))
    const quiet = changed((copy) => copy.writeInt16LE(-1541, 16)) // -6.02 dB
    const got = await samplesOf(paginate([quiet, tags!, ...sound], { granule, partsPerPage: 50 }))
    expect(got[5000]! / want[5000]!).toBeCloseTo(0.5, 3)
  })

  test.each([
    ["three channels of family 0", (copy: Buffer) => copy.writeUInt8(3, 9)],
    ["no channels", (copy: Buffer) => copy.writeUInt8(0, 9)],
    ["a mapping that is not there", (copy: Buffer) => copy.writeUInt8(1, 18)],
  ])("with %s is refused", async (_, edit) => {
    const reading = decodeAudio(paginate([changed(edit), tags!, ...sound], { granule, partsPerPage: 50 }))
    await expect(reading).rejects.toThrow(InputError)
    await expect(reading).rejects.toThrow("audio: expected an Opus head that says how channels are coded")
  })

  test("of damaged packets alone is given up", async () => {
    using _ = vi.spyOn(console, "error").mockImplementation(() => {}) // the decoder's own
    const bad = Array.from({ length: 100_000 }, (_, i) => new Uint8Array(i % 2 === 0 ? 2 : 0).fill(0xff))
    const lost = decodeAudio(paginate([head!, tags!, ...bad], { granule, partsPerPage: 255 }))
    await expect(lost).rejects.toThrow("got ogg-opus with no samples")
    const begun = await decodeAudio(paginate([head!, tags!, ...sound, ...bad], { granule, partsPerPage: 255 }))
    expect(begun.damaged).toBe(true)
    expect(begun.pcm.length).toBeGreaterThan(0.4 * 48_000)
    expect(vi.mocked(console.error).mock.calls.length).toBeLessThan(1200) // of 100,000
  })

  test("packets of any size and content give finite sound or an input error", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.uint8Array({ maxLength: 60 }),
            fc.integer({ min: 0, max: 9000 }).map((n) => new Uint8Array(n).fill(n)),
          ),
        ),
        fc.uint8Array({ minLength: 11, maxLength: 40 }),
        async (packets, rest) => {
          const start = new Uint8Array(Buffer.concat([head!.subarray(0, 8), rest]))
          try {
            const { pcm } = await decodeAudio(
              paginate([start, tags!, ...packets, ...sound], { granule, partsPerPage: 9 }),
            )
            expect(pcm.every(Number.isFinite)).toBe(true)
          } catch (error) {
            expect(error).toBeInstanceOf(InputError)
          }
        },
      ),
      { numRuns: 30 },
    ))
})

test("pages that are cut, or have junk between them, give the packets that are whole", () => {
  const packets = [Uint8Array.of(1), new Uint8Array(600).fill(2), new Uint8Array(0), new Uint8Array(255).fill(3)]
  for (const partsPerPage of [1, 2, 3, 100]) {
    const bytes = paginate(packets, { granule: 5n, partsPerPage })
    expect([...oggPackets(bytes)]).toEqual(packets)
    expect(oggLinks(bytes)).toHaveLength(1)
    const pages = [...oggPages(bytes)].map(({ begin, end }) => bytes.subarray(begin, end))
    const spread = Buffer.concat(pages.flatMap((page) => [Buffer.from("OgOgg junk"), page]))
    expect([...oggPackets(new Uint8Array(spread))]).toEqual(packets)
    for (let size = 0; size < bytes.length; size += 13) {
      const whole = [...oggPackets(bytes.subarray(0, size))]
      expect(packets.slice(0, whole.length)).toEqual(whole)
      expect(whole.length).toBeLessThan(packets.length)
    }
  }
})
