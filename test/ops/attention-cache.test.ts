/** @file One model over caches of many lengths, the empty one included: no result may depend on the run before. */
import { expect, test } from "vitest"
import { Graph, lowerFor } from "../../src/graph/index.ts"
import { f32, type HostTensor, sizeOf } from "../../src/tensor/index.ts"
import { expectClose, ortSession, reference, runOrt, TARGETS } from "./harness.ts"

const [HEADS, GROUPS, SIZE] = [6, 3, 8]

function cached(): Graph {
  const g = new Graph("attention")
  const [q, k, v] = [HEADS, GROUPS, GROUPS].map((count, i) => g.input("qkv"[i]!, "f32", ["B", "T", count * SIZE]))
  const mask = g.input("mask", "f32", ["B", 1, "T", "S + T"])
  g.output("y", g.cachedAttention("slot", [q!, k!, v!], { heads: HEADS, kvHeads: GROUPS, scale: 0.4 }, mask))
  return g
}

test.each(TARGETS)("an empty cache after a full one, %s", async (target) => {
  const lowered = lowerFor(cached(), { target })
  const session = await ortSession(lowered, {})
  const shapes = new Map(lowered.nodes.filter(({ op }) => op === "input").map((n) => [n.outputs[0]!, n.attrs]))
  let empty = 0
  for (let run = 0; run < 24; run++) {
    const sizes: { [symbol: string]: number } = { B: 1 + (run % 2), T: 1 + (run % 4), S: run % 3 === 2 ? 0 : 5 }
    sizes["S + T"] = sizes.S! + sizes.T!
    const feeds: { [name: string]: HostTensor } = {}
    for (const [{ shape }, attrs] of shapes) {
      const dims = shape.map((dim) => (typeof dim === "number" ? dim : sizes[dim]!))
      feeds[(attrs as { name: string }).name] = f32(
        dims,
        Float32Array.from({ length: sizeOf(dims) }, (_, i) => 1.5 + Math.sin(i * i + run)),
      )
    }
    if (sizes.S === 0) empty++
    const got = await runOrt(session, lowered, feeds)
    expectClose(got, reference(cached(), feeds), 1e-5, `S = ${sizes.S}, run ${run}`)
  }
  expect(empty).toBe(8)
  await session.release()
})
