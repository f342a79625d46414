/** @file The graph's data: one node type, its values, and what an op's table entry must say. */
import type { DType, HostTensor } from "../tensor/index.ts"
import type { Dim, Shape } from "./dim.ts"
import type { Graph } from "./graph.ts"
import type { OnnxEmitter } from "./onnx-emit.ts"
import type { OpAttrs } from "./ops/attrs.ts"

/** Name of an entry of the op table. */
export type OpName = keyof OpAttrs

/** What is known of a value before anything runs. */
export type ValueType = { readonly dtype: DType; readonly shape: Shape }

/** One result of a node. Values are compared by identity. */
export type Value = ValueType & {
  readonly node: Node
  /** Which of the node's outputs this is. */
  readonly index: number
}

/** One application of an op. `path` says where in the model it was built, for errors and profiles. */
export type Node<K extends OpName = OpName> = {
  readonly op: K
  readonly inputs: readonly Value[]
  readonly attrs: OpAttrs[K]
  readonly path: string
  readonly outputs: readonly Value[]
}

/** Everything the project knows about one op. `A` is the type of its attributes. */
export type OpDef<A> = {
  /** Number of inputs, or the least and the most. */
  readonly arity: number | readonly [number, number]
  /** The types of the outputs. `fail` throws a ShapeError with the node's path in front. */
  readonly infer: (inputs: readonly ValueType[], attrs: A, fail: Fail) => readonly ValueType[]
  /** Slow, obvious evaluation. Output types have numeric shapes. */
  readonly evaluate: (
    inputs: readonly HostTensor[],
    attrs: A,
    outputs: readonly { readonly dtype: DType; readonly shape: readonly number[] }[],
    bind: (dim: Dim) => number,
  ) => readonly HostTensor[]
  /** Adds the ONNX nodes that compute the op, or "expand" to serialize its expansion. */
  readonly onnx:
    | ((
        emit: OnnxEmitter,
        node: { readonly inputs: readonly Value[]; readonly outputs: readonly Value[]; readonly attrs: A },
      ) => void)
    | "expand"
    | "source"
  /** The same computation in simpler ops; composite ops have one. */
  readonly expand?: (g: Graph, inputs: readonly Value[], attrs: A) => readonly Value[]
  /**
   * Gradients of the inputs given those of the outputs; undefined for inputs that take none. Broadcast inputs may get a
   * gradient of the broadcast shape: the walk sums it. "expand" differentiates the expansion; "none" is said aloud.
   */
  readonly gradient: GradientRule<A> | "expand" | "none"
}

export type Fail = (message: string) => never

export type GradientRule<A> = (
  g: Graph,
  node: { readonly inputs: readonly Value[]; readonly outputs: readonly Value[]; readonly attrs: A },
  grads: readonly Value[],
) => readonly (Value | undefined)[]
