/** @file A folder of goldens: the list of cases, their arrays and data, and the checkpoint they were recorded with. */

import { openFolder } from "../../src/checkpoint/index.node.ts"
import {
  type Checkpoint,
  type FileSource,
  openCheckpoint,
  openSafetensors,
  readJsonObject,
} from "../../src/checkpoint/index.ts"
import type { HostTensor } from "../../src/tensor/index.ts"

/** One entry of cases.json. */
export type GoldenCase = {
  readonly name: string
  readonly component: string
  readonly file: string | null
  readonly data?: string
  readonly assets?: readonly string[]
  readonly inputs: { readonly [key: string]: { readonly tensor: string } }
  readonly outputs: { readonly [key: string]: { readonly tensor: string } }
  // biome-ignore lint/suspicious/noExplicitAny: free-form settings of each case, checked by the case that reads them
  readonly params: { readonly [key: string]: any }
  readonly tolerance: { readonly [kind: string]: unknown }
}

/** A set opened for reading, files included; `checkpoint` is the model folder of the set. */
export type GoldenSet = AsyncDisposable & {
  readonly directory: string
  readonly folder: FileSource
  readonly checkpointFolder: FileSource
  readonly checkpoint: Checkpoint
  readonly cases: readonly GoldenCase[]
}

/** @throws CheckpointError or ConfigError when the folder is not a set of goldens */
export async function openGoldenSet(directory: string): Promise<GoldenSet> {
  const folder = openFolder(directory)
  const checkpointFolder = openFolder(`${directory}/checkpoint`)
  const list = await readJsonObject(folder, "cases.json")
  return {
    directory,
    folder,
    checkpointFolder,
    checkpoint: await openCheckpoint(checkpointFolder),
    cases: list.cases as unknown as GoldenCase[],
    async [Symbol.asyncDispose]() {
      await folder.close()
      await checkpointFolder.close()
    },
  }
}

/**
 * The array whose name is `prefix` and the range that it was cut from, such as `keys_0_32`.
 * @returns the array and the numbers of its name
 */
export function rangedArray(
  arrays: { readonly [key: string]: HostTensor },
  prefix: string,
): { readonly array: HostTensor; readonly range: readonly number[] } {
  const names = Object.keys(arrays).filter(
    (key) => key.startsWith(prefix) && /^(_\d+)+$/.test(key.slice(prefix.length)),
  )
  const [name] = names
  if (name === undefined || names.length > 1) {
    throw new Error(`expected one array ${prefix}_<begin>_<end>, got ${names.join(", ") || "none"}`)
  }
  return {
    array: arrays[name]!,
    range: name
      .slice(prefix.length + 1)
      .split("_")
      .map(Number),
  }
}

/** The arrays of a case by their keys, inputs and outputs apart. */
export async function readArrays(
  set: GoldenSet,
  golden: GoldenCase,
): Promise<{ inputs: { [key: string]: HostTensor }; outputs: { [key: string]: HostTensor } }> {
  const result = { inputs: {} as { [key: string]: HostTensor }, outputs: {} as { [key: string]: HostTensor } }
  if (!golden.file) return result
  const arrays = await openSafetensors(set.folder, golden.file)
  for (const side of ["inputs", "outputs"] as const) {
    for (const [key, { tensor }] of Object.entries(golden[side])) result[side][key] = await arrays.read(tensor)
  }
  return result
}
