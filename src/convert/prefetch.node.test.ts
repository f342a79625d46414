/** @file Prefetching reads what programs of a kind map, and harms nothing when it cannot. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { type TensorSpec, weightSpec } from "../tensor/index.ts"
import { bundleOptions, manifestOf, planBundle } from "./bundle.ts"
import { temporaryFolders } from "./folders.test-util.node.ts"
import { entriesOf } from "./model-weights.ts"
import { prefetchFile } from "./prefetch.node.ts"

const temporary = temporaryFolders()

test("reads ranges whole, as far as there is a file", async () => {
  const path = join(temporary(), "a.bin")
  writeFileSync(path, new Uint8Array(20 * 2 ** 20))
  const ranges = [
    { offset: 3, sizeBytes: 9 * 2 ** 20 },
    { offset: 0, sizeBytes: 5 },
    { offset: 19 * 2 ** 20, sizeBytes: 2 ** 30 },
  ]
  expect(await prefetchFile(path, ranges).done).toBe(9 * 2 ** 20 + 5 + 2 ** 20)
  expect(await prefetchFile(join(temporary(), "none"), ranges).done).toBe(0)
})

test("can be stopped", async () => {
  const path = join(temporary(), "a.bin")
  writeFileSync(path, new Uint8Array(2 ** 20))
  const endless = Array.from({ length: 1e5 }, () => ({ offset: 0, sizeBytes: 2 ** 20 }))
  const prefetch = prefetchFile(path, endless)
  prefetch.stop()
  expect(await prefetch.done).toBe(0)
})

test("a kind's arrays are its own and what both kinds read, but no tables by row", () => {
  const specs = new Map<string, TensorSpec>([
    ["embed", weightSpec([5, 96])],
    ["norm", weightSpec([96])],
    ["up", weightSpec([40, 96], { quantizable: true })],
    ["head", weightSpec([5, 96], { quantizable: true })],
  ])
  const input = {
    specs,
    byRow: new Map([["embed", "bf16" as const]]),
    oneRow: new Set(["head"]),
    useOf: () => "language" as const,
  }
  const manifest = manifestOf(planBundle(input, bundleOptions("int8+int4")), "k", false)
  const names = (kind: "int8" | "int4" | "f32") => {
    const offsets = entriesOf(manifest, kind).map(({ offset }) => offset)
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
    return Object.entries(manifest.entries).flatMap(([name, { offset }]) => (offsets.includes(offset) ? [name] : []))
  }
  const head = ["head.balance", "head.int4", "head.int4.scales"]
  expect(names("int8")).toEqual(["norm", "up.balance", "up.int8", "up.int8.scales", ...head])
  expect(names("int4")).toEqual(["norm", "up.balance", "up.int4", "up.int4.scales", ...head])
  expect(names("f32")).toEqual(names("int8"))
})
