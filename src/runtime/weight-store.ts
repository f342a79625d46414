/** @file Weights held in memory: small checkpoints, tests, and what a graph computes with at first. */
import type { LinearStorage } from "../graph/index.ts"
import type { HostTensor } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import type { WeightStore } from "./executor.ts"

/** @throws CheckpointError at read when a name is missing or the tensor is another than the graph declares */
export function memoryWeights(
  tensors: ReadonlyMap<string, HostTensor>,
  storage: (name: string) => LinearStorage = () => ({ kind: "f32" }),
): WeightStore {
  return {
    storage,
    read(name, dtype, shape) {
      const found = tensors.get(name)
      const wanted = `${dtype} [${shape.join(", ")}]`
      if (!found) throw new CheckpointError(`${name}: expected a weight ${wanted}, got none`)
      if (
        found.dtype !== dtype ||
        found.shape.length !== shape.length ||
        found.shape.some((dim, i) => dim !== shape[i])
      ) {
        throw new CheckpointError(`${name}: expected ${wanted}, got ${found.dtype} [${found.shape.join(", ")}]`)
      }
      return found
    },
  }
}
