import { describe, expect, test } from "vitest"
import { f32 } from "../tensor/index.ts"
import { ShapeError } from "../util/index.ts"
import { mergeEmbeds } from "./merge.ts"

/** Ten positions two wide: position p has the values p and p + 0.5. */
const text = () =>
  f32(
    [1, 10, 2],
    Float32Array.from({ length: 20 }, (_, i) => i / 2),
  )
/** Rows whose values say where they come from. */
const rows = (count: number, first: number) =>
  f32(
    [count, 2],
    Float32Array.from({ length: 2 * count }, (_, i) => first + Math.floor(i / 2)),
  )
const blocks = (count: number, size: number, first: number) => f32([count, size, 2], rows(count * size, first).data)
/** The first value of each position. */
const firsts = ({ data }: { data: Float32Array }) => [...data].filter((_, i) => i % 2 === 0)

const SPANS = {
  imageSpans: [
    [1, 3],
    [4, 6],
  ],
  audioSpans: [
    [6, 7],
    [8, 10],
  ],
} as const

describe("merged embeddings", () => {
  test("keep the text, and fill spans in order", () => {
    const merged = mergeEmbeds(text(), SPANS, { images: blocks(2, 2, 100), audio: [rows(2, 200), rows(1, 300)] })
    expect(merged.shape).toEqual([1, 10, 2])
    // The second segment goes on where the first ended: groups of placeholders and segments are not the same.
    expect(firsts(merged)).toEqual([0, 100, 101, 3, 102, 103, 200, 7, 201, 300])
    expect([...merged.data.subarray(2, 4)]).toEqual([100, 100])
  })

  test("quirk: tokens without a placeholder are dropped at the end, not at their clip", () => {
    const merged = mergeEmbeds(text(), { ...SPANS, imageSpans: [] }, { audio: [rows(2, 200), rows(3, 300)] })
    expect(firsts(merged)).toEqual([0, 1, 2, 3, 4, 5, 200, 7, 201, 300])
  })

  test("are the text's alone without media", () => {
    expect(mergeEmbeds(text(), { imageSpans: [], audioSpans: [] }, {})).toEqual(text())
  })

  test.each([
    [
      { audio: [rows(3, 0)] },
      "merge: expected image embeddings for 2 spans of 4 positions together, got 0 blocks of 0 rows " +
        "(the prompt and its images do not belong together)",
    ],
    [{ images: blocks(1, 2, 0), audio: [rows(3, 0)] }, "got 1 blocks of 2 rows"],
    [{ images: blocks(3, 2, 0), audio: [rows(3, 0)] }, "got 3 blocks of 6 rows"],
    [{ images: blocks(2, 3, 0), audio: [rows(3, 0)] }, "got 2 blocks of 6 rows"],
    [
      { images: blocks(2, 2, 0), audio: [rows(2, 0)] },
      "merge: expected at least 3 audio tokens for as many placeholders, got 2 " +
        "(the prompt and its sound do not belong together)",
    ],
    [
      { images: f32([2, 2, 3], new Float32Array(12)), audio: [rows(3, 0)] },
      "merge: expected embeddings 2 wide, got [2, 2, 3] (check the config)",
    ],
    [{ images: blocks(2, 2, 0), audio: [rows(3, 0), f32([1, 1], [0])] }, "expected embeddings 2 wide, got [1, 1]"],
  ])("that do not fit are refused: %#", (media, error) => {
    expect(() => mergeEmbeds(text(), SPANS, media)).toThrow(ShapeError)
    expect(() => mergeEmbeds(text(), SPANS, media)).toThrow(error)
  })

  test("of another prompt are refused", () => {
    expect(() => mergeEmbeds(text(), { imageSpans: [], audioSpans: [[9, 11]] }, { audio: [rows(2, 0)] })).toThrow(
      "merge: expected spans within 10 positions, got one beyond (is this another prompt?)",
    )
  })
})
