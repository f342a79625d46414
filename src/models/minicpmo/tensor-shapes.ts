/** @file Sizes that no config file states: they are read off the checkpoint's tensors. */
import { CheckpointError } from "../../util/index.ts"

/** The shape of a stored tensor, or undefined when there is none of that name. */
export type ShapeOf = (name: string) => readonly number[] | undefined

/** @throws CheckpointError when the tensor is missing or has another rank */
export function knownShape(shapeOf: ShapeOf, name: string, rank: number): readonly number[] {
  const shape = shapeOf(name)
  if (shape?.length === rank) return shape
  const got = shape ? `[${shape.join(", ")}]` : "none"
  throw new CheckpointError(`${name}: expected a tensor of ${rank} dims, got ${got} (is the download complete?)`)
}

/** How many numbered children have the tensor `name(i)`. */
export function countOf(shapeOf: ShapeOf, name: (index: number) => string): number {
  let count = 0
  while (shapeOf(name(count))) count++
  return count
}
