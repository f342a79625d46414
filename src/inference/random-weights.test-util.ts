/** @file Test helper: weights drawn from a component's spec, for configs that no recorded case has. */
import { memoryWeights, type WeightStore } from "../runtime/index.ts"
import { flattenSpec, type HostTensor, type SpecTree, sizeOf, tensor } from "../tensor/index.ts"
import { createRandom } from "../util/index.ts"

/** Evenly distributed values of each spec's mean and deviation; biases, which start at zero in training, vary as well. */
export function randomWeights(spec: SpecTree, prefix: string, seed: number): WeightStore {
  const random = createRandom(seed)
  const tensors = new Map<string, HostTensor>()
  for (const [name, { shape, init }] of flattenSpec(spec, prefix)) {
    const reach = Math.sqrt(3) * Math.max(init.deviation, 0.02)
    const data = new Float32Array(sizeOf(shape))
    for (let i = 0; i < data.length; i++) data[i] = init.mean + (2 * random() - 1) * reach
    tensors.set(name, tensor("f32", shape, data))
  }
  return memoryWeights(tensors)
}
