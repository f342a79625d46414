/** @file Models beside their weights: ONNX Runtime reads tensors from another file by offset, and notices a short one. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { InferenceSession } from "onnxruntime-node"
import { afterAll, expect, test } from "vitest"
import { exportOnnx, Graph, lowerFor, type WeightData } from "../../src/graph/index.ts"
import { f32, type HostTensor } from "../../src/tensor/index.ts"
import { expectClose, reference, runOrt } from "./harness.ts"

const folder = mkdtempSync(join(tmpdir(), "omni-onnx-"))
afterAll(() => rmSync(folder, { recursive: true }))

const SHAPES = { first: [64, 32], second: [48, 64], bias: [48] } as const
const weights: { readonly [name: string]: HostTensor } = Object.fromEntries(
  Object.entries(SHAPES).map(([name, shape], k) => {
    const size = shape.reduce((product: number, dim) => product * dim, 1)
    return [
      name,
      f32(
        [...shape],
        Float32Array.from({ length: size }, (_, i) => Math.sin(i + 100 * k)),
      ),
    ]
  }),
)

function mlp(): Graph {
  const g = new Graph("mlp")
  const hidden = g.silu(g.linear(g.input("x", "f32", ["B", 32]), g.weight("first", SHAPES.first)))
  g.output("y", g.linear(hidden, g.weight("second", SHAPES.second), g.weight("bias", SHAPES.bias)))
  return g
}

/** Writes the weights one after the other behind some bytes of another kind, each at a multiple of 64. */
function writeWeights(name: string): WeightData {
  const places = new Map<string, { location: string; offset: number; sizeBytes: number }>()
  let end = 320
  for (const [weight, { data }] of Object.entries(weights)) {
    places.set(weight, { location: name, offset: end, sizeBytes: data.byteLength })
    end += Math.ceil(data.byteLength / 64) * 64
  }
  const bytes = new Uint8Array(end).fill(0xee)
  for (const [weight, { data }] of Object.entries(weights)) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), places.get(weight)!.offset)
  }
  writeFileSync(join(folder, name), bytes)
  return (weight) => places.get(weight)!
}

const quiet = { intraOpNumThreads: 1, logSeverityLevel: 4 } as const
const x = f32(
  [3, 32],
  Float32Array.from({ length: 96 }, (_, i) => Math.cos(i)),
)

test.each(["portable", "cpu"] as const)("a %s model in a file finds its weights beside it", async (target) => {
  const graph = lowerFor(mlp(), { target })
  const path = join(folder, `${target}.onnx`)
  writeFileSync(path, exportOnnx(graph, writeWeights("weights.bin")))
  const session = await InferenceSession.create(path, quiet)
  const got = await runOrt(session, graph, { x })
  await session.release()
  expectClose(got, reference(mlp(), { x, ...weights }), 1e-5, "onnxruntime")
})

test("a model in memory finds them in a named folder", async () => {
  const graph = lowerFor(mlp(), { target: "cpu" })
  const model = exportOnnx(graph, writeWeights("weights.bin"))
  const extra = { session: { model_external_initializers_file_folder_path: folder } }
  const session = await InferenceSession.create(model, { ...quiet, extra })
  const got = await runOrt(session, graph, { x })
  await session.release()
  expectClose(got, reference(mlp(), { x, ...weights }), 1e-5, "onnxruntime")
})

test("a file that is too short, or missing, is refused", async () => {
  const graph = lowerFor(mlp(), { target: "portable" })
  const path = join(folder, "short.onnx")
  writeFileSync(path, exportOnnx(graph, writeWeights("short.bin")))
  truncateSync(join(folder, "short.bin"), 1000)
  await expect(InferenceSession.create(path, quiet)).rejects.toThrow(/short\.bin|external|out of bounds|read/i)
  writeFileSync(
    path,
    exportOnnx(graph, () => ({ location: "none.bin", offset: 0, sizeBytes: 192 })),
  )
  await expect(InferenceSession.create(path, quiet)).rejects.toThrow(/none\.bin/)
})
