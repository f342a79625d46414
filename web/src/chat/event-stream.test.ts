/** @file Streams give the same values however they are cut. */
import fc from "fast-check"
import { expect, test } from "vitest"
import { eventData } from "./event-stream.ts"

async function read(text: string, cuts: readonly number[]): Promise<unknown[]> {
  const bytes = new TextEncoder().encode(text)
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let i = 1; i < at.length; i++) controller.enqueue(bytes.subarray(at[i - 1], at[i]))
      controller.close()
    },
  })
  return Array.fromAsync(eventData(stream))
}

test("values come whole and in order, whatever the pieces and line ends", async () => {
  const values = fc.array(fc.record({ text: fc.string({ unit: "grapheme" }) }), { maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(
      values,
      fc.array(fc.nat(), { maxLength: 10 }),
      fc.constantFrom("\n", "\r\n"),
      async (all, cuts, end) => {
        const text = all.map((value) => `: note${end}data: ${JSON.stringify(value)}${end}${end}`).join("")
        expect(await read(`${text}data: [DONE]${end}data: {"late":1}${end}`, cuts)).toEqual(all)
        expect(await read(text.trimEnd(), cuts)).toEqual(all)
      },
    ),
  )
})

test("what is no JSON is an error", async () => {
  await expect(read("data: {oops\n\n", [])).rejects.toThrow(SyntaxError)
})
