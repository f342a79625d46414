/** @file A component's weights, checked against its spec and held in float32: what small components compute with. */
import { type Checkpoint, checkAgainstSpecs } from "../checkpoint/index.ts"
import { memoryWeights, type WeightStore } from "../runtime/index.ts"
import { flattenSpec, type HostTensor, type SpecTree } from "../tensor/index.ts"

/**
 * Reads every tensor of a spec that is not ignored.
 * @throws CheckpointError naming the tensors that are missing, unused or of another shape
 */
export async function readComponent(checkpoint: Checkpoint, spec: SpecTree, prefix: string): Promise<WeightStore> {
  const specs = flattenSpec(spec, prefix)
  checkAgainstSpecs(checkpoint, specs, { ownedPrefixes: [prefix] })
  const tensors = new Map<string, HostTensor>()
  for (const [name, { ignored }] of specs) if (!ignored) tensors.set(name, await checkpoint.readF32(name))
  return memoryWeights(tensors)
}
