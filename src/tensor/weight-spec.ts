/**
 * @file Weight specs: a component's tensors declared once, as a tree of shapes under camelCase names. From the tree come
 * the checkpoint's names (one rule: camelCase to snake_case, arrays to indices), the loader's check, random weights, and
 * the type of the values that the component's function receives.
 */

/** One tensor of a component. */
export type TensorSpec = {
  readonly kind: "tensor"
  readonly shape: readonly number[]
  /** How random weights are drawn: a normal of this deviation around `mean`. */
  readonly init: { readonly mean: number; readonly deviation: number }
  /** True for the weight of a linear layer, [out, in] or flattened to that, which may be stored quantized. */
  readonly quantizable: boolean
  /** Linear layers of one module whose weights name the same input here multiply one and the same value. */
  readonly input?: string
  /** Dead weight: present in official files, neither checked nor read; the text says why. */
  readonly ignored?: string
}

/** A tree of tensor specs; arrays stand for numbered children. */
export type SpecTree = TensorSpec | readonly SpecTree[] | { readonly [name: string]: SpecTree }

/** The tree with each spec replaced by `Leaf` (a graph value, a host tensor, …). */
export type Weights<S, Leaf> = S extends TensorSpec
  ? Leaf
  : S extends readonly (infer E)[]
    ? readonly Weights<E, Leaf>[]
    : { readonly [K in keyof S]: Weights<S[K], Leaf> }

export function weightSpec(
  shape: readonly number[],
  options: { mean?: number; deviation?: number; quantizable?: boolean; input?: string; ignored?: string } = {},
): TensorSpec {
  const { mean = 0, deviation = 0.02, quantizable = false, input, ignored } = options
  const rest = { ...(input ? { input } : {}), ...(ignored ? { ignored } : {}) }
  return { kind: "tensor", shape, init: { mean, deviation }, quantizable, ...rest }
}

/** `selfAttn` → `self_attn`; digits stay attached to the word before them. */
export function camelToSnake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

function isTensorSpec(tree: SpecTree): tree is TensorSpec {
  return !Array.isArray(tree) && (tree as TensorSpec).kind === "tensor"
}

/** Replaces every spec of the tree by `leaf(name, spec)`; `name` is the checkpoint's name under `prefix`. */
export function mapSpec<S extends SpecTree, Leaf>(
  tree: S,
  prefix: string,
  leaf: (name: string, spec: TensorSpec) => Leaf,
): Weights<S, Leaf> {
  const walk = (node: SpecTree, name: string): unknown => {
    if (isTensorSpec(node)) return leaf(name, node)
    const join = (part: string) => (name === "" ? part : `${name}.${part}`)
    if (Array.isArray(node)) return node.map((child: SpecTree, index) => walk(child, join(String(index))))
    return Object.fromEntries(
      Object.entries(node as { [key: string]: SpecTree }).map(([key, child]) => [
        key,
        walk(child, join(camelToSnake(key))),
      ]),
    )
  }
  return walk(tree, prefix) as Weights<S, Leaf>
}

/** All specs of the tree by checkpoint name, in declaration order. */
export function flattenSpec(tree: SpecTree, prefix = ""): Map<string, TensorSpec> {
  const specs = new Map<string, TensorSpec>()
  mapSpec(tree, prefix, (name, spec) => specs.set(name, spec))
  return specs
}
