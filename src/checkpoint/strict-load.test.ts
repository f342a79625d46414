import { expect, test } from "vitest"
import { f32, flattenSpec, type HostTensor, i32, tensor, weightSpec } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import { openSafetensors } from "./safetensors.ts"
import { writeSafetensors } from "./safetensors-writer.ts"
import { memorySink } from "./sink.ts"
import { memorySource } from "./source.ts"
import { checkAgainstSpecs, lazyWeights, loadWeights } from "./strict-load.ts"
import { guarded } from "./test-support.ts"

async function checkpointOf(tensors: Record<string, HostTensor>) {
  const files = new Map<string, Uint8Array>()
  await writeSafetensors(memorySink(files), "m", new Map(Object.entries(tensors)))
  const source = guarded(memorySource(files))
  return { checkpoint: await openSafetensors(source, "m"), source }
}

const spec = {
  inProj: { weight: weightSpec([2, 3]), bias: weightSpec([2]) },
  layers: [{ norm: weightSpec([2]) }, { norm: weightSpec([2]) }],
  dead: weightSpec([9, 9], { ignored: "never used by the official code" }),
}
const good = {
  "part.in_proj.weight": f32([2, 3], [1, 2, 3, 4, 5, 6]),
  "part.in_proj.bias": tensor("bf16", [2], Uint16Array.of(0x3f80, 0xc000)),
  "part.layers.0.norm": f32([2], [7, 8]),
  "part.layers.1.norm": tensor("f16", [2], Uint16Array.of(0x3c00, 0x4000)),
  "part.dead": f32([1, 2], [0, 0]),
  "partner.x": f32([1], [0]),
}

test("loads a tree in f32 and skips ignored tensors", async () => {
  const { checkpoint, source } = await checkpointOf(good)
  source.calls.length = 0
  const weights = await loadWeights(checkpoint, spec, "part")
  expect(weights.inProj.weight).toEqual(good["part.in_proj.weight"])
  expect(weights.inProj.bias).toEqual(f32([2], [1, -2]))
  expect(weights.layers.map(({ norm }) => norm)).toEqual([f32([2], [7, 8]), f32([2], [1, 2])])
  expect(weights.dead).toEqual(f32([0], []))
  expect(source.calls.length).toBe(4)
})

test("an ignored tensor may be absent", async () => {
  const { "part.dead": _, ...rest } = good
  await loadWeights((await checkpointOf(rest)).checkpoint, spec, "part")
})

test("lazy weights read nothing until asked", async () => {
  const { checkpoint, source } = await checkpointOf(good)
  source.calls.length = 0
  const weights = lazyWeights(checkpoint, spec, "part")
  expect(weights.layers[1]?.norm).toMatchObject({ name: "part.layers.1.norm", shape: [2] })
  expect(source.calls).toEqual([])
  expect((await weights.inProj.bias.read()).dtype).toBe("bf16")
  expect(await weights.inProj.bias.readF32()).toEqual(f32([2], [1, -2]))
  expect((await Array.fromAsync(weights.inProj.weight.rowChunks(12))).map(({ firstRow }) => firstRow)).toEqual([0, 1])
  const message = "part.dead: expected no reads of an ignored tensor, got one (never used by the official code)"
  await expect(weights.dead.read()).rejects.toThrow(message)
  await expect(weights.dead.readF32()).rejects.toThrow(message)
  expect(() => weights.dead.rowChunks(1)).toThrow(message)
})

test("reports missing, mis-shaped, non-float and unused tensors together", async () => {
  const { checkpoint } = await checkpointOf({
    "part.in_proj.weight": f32([3, 2], [1, 2, 3, 4, 5, 6]),
    "part.layers.0.norm": i32([2], [7, 8]),
    "part.layers.1.norm": f32([2], [7, 8]),
    "part.layers.2.norm": f32([2], [7, 8]),
    "partner.x": f32([1], [0]),
  })
  const load = loadWeights(checkpoint, spec, "part")
  await expect(load).rejects.toThrow(CheckpointError)
  await expect(load).rejects.toThrow(
    [
      "m: part.in_proj.weight: expected [2, 3], got [3, 2] (check the sizes in config.json)",
      "part.in_proj.bias: expected a tensor [2], got none (check that the download is complete and config.json fits)",
      "part.layers.0.norm: expected floats, got i32 (use the original, unquantized checkpoint)",
      '"part.layers.2.norm": expected no such tensor, got one that nothing uses (is config.json of this model?)',
    ].join("\n  "),
  )
})

test("shows ten problems and counts the rest", async () => {
  const { checkpoint } = await checkpointOf({ x: f32([1], [0]) })
  const specs = flattenSpec({ layers: Array.from({ length: 12 }, () => weightSpec([1])) }, "p")
  const message = /(p\.layers\.\d: [^\n]*\n {2}){10}and 2 more$/
  expect(() => checkAgainstSpecs(checkpoint, specs, { ownedPrefixes: ["p"] })).toThrow(message)
})

test.each([
  [["part"], false],
  [["part."], false],
  [["partner"], true],
  [["partner.x"], true],
  [[""], true],
  [[], false],
])("prefixes %j own partner.x: %j", async (ownedPrefixes, owned) => {
  const { checkpoint } = await checkpointOf(good)
  const check = () => checkAgainstSpecs(checkpoint, flattenSpec(spec, "part"), { ownedPrefixes })
  if (owned) expect(check).toThrow('"partner.x": expected no such tensor')
  else expect(check).not.toThrow()
})

test("stops when aborted", async () => {
  const { checkpoint } = await checkpointOf(good)
  const signal = AbortSignal.abort()
  await expect(loadWeights(checkpoint, spec, "part", { signal })).rejects.toBe(signal.reason)
})
