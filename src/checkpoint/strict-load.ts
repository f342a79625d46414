/**
 * @file Loads a component's weights strictly: every declared tensor must exist with its shape, and nothing may be left
 * over under the component's names, so that a wrong config or a wrong checkpoint shows before the first wrong output.
 */
import {
  f32,
  flattenSpec,
  type HostTensor,
  isFloat,
  mapSpec,
  type SpecTree,
  type TensorSpec,
  type Weights,
} from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import { failure, quote } from "./fail.ts"
import type { Checkpoint, RowChunk } from "./tensor-reader.ts"

const SHOWN_PROBLEMS = 10

/**
 * Checks a checkpoint against weight specs by name. A spec that is `ignored` is not checked and its tensor may be absent.
 * @param ownedPrefixes names the specs answer for: `"llm"` owns `llm.…`, `""` owns everything; others are let alone
 * @throws CheckpointError with all missing, mis-shaped, non-float and unused tensors (the first ten by name)
 */
export function checkAgainstSpecs(
  checkpoint: Checkpoint,
  specs: ReadonlyMap<string, TensorSpec>,
  { ownedPrefixes }: { readonly ownedPrefixes: readonly string[] },
): void {
  const problems: string[] = []
  for (const [name, spec] of specs) {
    const problem = spec.ignored === undefined ? checkTensor(checkpoint, name, spec) : undefined
    if (problem !== undefined) problems.push(problem)
  }
  for (const name of checkpoint.names()) {
    if (specs.has(name) || !ownedPrefixes.some((prefix) => owns(prefix, name))) continue
    problems.push(`${quote(name)}: expected no such tensor, got one that nothing uses (is config.json of this model?)`)
  }
  if (problems.length === 0) return
  const shown = problems.slice(0, SHOWN_PROBLEMS)
  if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`)
  throw new CheckpointError(`${checkpoint.name}: ${shown.join("\n  ")}`)
}

/** Shapes of a checkpoint's tensors by name. */
export function shapesOf(checkpoint: Checkpoint): (name: string) => readonly number[] | undefined {
  return (name) => (checkpoint.has(name) ? checkpoint.info(name).shape : undefined)
}

function checkTensor(checkpoint: Checkpoint, name: string, spec: TensorSpec): string | undefined {
  const expected = `[${spec.shape.join(", ")}]`
  if (!checkpoint.has(name)) {
    return `${name}: expected a tensor ${expected}, got none (check that the download is complete and config.json fits)`
  }
  const { dtype, shape } = checkpoint.info(name)
  const same = shape.length === spec.shape.length && shape.every((dim, axis) => dim === spec.shape[axis])
  if (!same) return `${name}: expected ${expected}, got [${shape.join(", ")}] (check the sizes in config.json)`
  if (!isFloat(dtype)) return `${name}: expected floats, got ${dtype} (use the original, unquantized checkpoint)`
  return undefined
}

function owns(prefix: string, name: string): boolean {
  return prefix === "" || name === prefix || name.startsWith(prefix.endsWith(".") ? prefix : `${prefix}.`)
}

/** A weight that stays in its file until it is asked for. */
export type LazyTensor = {
  readonly name: string
  readonly shape: readonly number[]
  /** In the stored dtype. */
  read(): Promise<HostTensor>
  readF32(): Promise<HostTensor<"f32">>
  /** Rows in the stored dtype, at most `maxBytes` at a time. */
  rowChunks(maxBytes: number): AsyncGenerator<RowChunk, void, undefined>
}

/** Which names the component answers for (its prefix by default), and how to stop. */
export type LoadOptions = { readonly ownedPrefixes?: readonly string[]; readonly signal?: AbortSignal }

/**
 * Checks and reads a component's weights, widened to f32: for small models, everything is in memory at once.
 * An `ignored` tensor is not read; its leaf is an empty tensor of shape [0], which no graph accepts by mistake.
 * @throws CheckpointError as `checkAgainstSpecs`; the signal's reason when aborted
 */
export async function loadWeights<const S extends SpecTree>(
  checkpoint: Checkpoint,
  tree: S,
  prefix: string,
  options: LoadOptions = {},
): Promise<Weights<S, HostTensor<"f32">>> {
  const specs = flattenSpec(tree, prefix)
  checkAgainstSpecs(checkpoint, specs, { ownedPrefixes: options.ownedPrefixes ?? [prefix] })
  const loaded = new Map<string, HostTensor<"f32">>()
  for (const [name, spec] of specs) {
    options.signal?.throwIfAborted()
    loaded.set(name, spec.ignored === undefined ? await checkpoint.readF32(name) : f32([0], []))
  }
  return mapSpec(tree, prefix, (name) => loaded.get(name)!)
}

/**
 * Checks a component's weights and leaves them in their files: for quantizing tensor by tensor.
 * The leaf of an `ignored` tensor refuses to be read.
 * @throws CheckpointError as `checkAgainstSpecs`
 */
export function lazyWeights<const S extends SpecTree>(
  checkpoint: Checkpoint,
  tree: S,
  prefix: string,
  options: Pick<LoadOptions, "ownedPrefixes"> = {},
): Weights<S, LazyTensor> {
  checkAgainstSpecs(checkpoint, flattenSpec(tree, prefix), { ownedPrefixes: options.ownedPrefixes ?? [prefix] })
  return mapSpec(tree, prefix, (name, { shape, ignored }): LazyTensor => {
    const readable = (): void => {
      if (ignored !== undefined) throw failure(name, "no reads of an ignored tensor", "one", ignored)
    }
    return {
      name,
      shape,
      read: async () => {
        readable()
        return checkpoint.read(name)
      },
      readF32: async () => {
        readable()
        return checkpoint.readF32(name)
      },
      rowChunks: (maxBytes) => {
        readable()
        return checkpoint.rowChunks(name, maxBytes)
      },
    }
  })
}
