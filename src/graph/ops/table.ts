/** @file The op table. Its type demands an entry for every name of the vocabulary. */
import { allocate } from "../../tensor/index.ts"
import { showShape } from "../dim.ts"
import type { Fail, Node, OpDef, OpName, ValueType } from "../node.ts"
import { attention, rotary } from "./attention.ts"
import type { OpAttrs } from "./attrs.ts"
import { BINARY, cast, store, UNARY, where } from "./elementwise.ts"
import { conv1d, conv1dInputGrad, conv1dWeightGrad, linear, matmul } from "./linear.ts"
import { REDUCE } from "./reduce.ts"
import { SHAPE } from "./shape.ts"
import { TARGET } from "./target.ts"
import { TARGET_FUSED } from "./target-fused.ts"

function source<A>(infer: (attrs: A) => ValueType): OpDef<A> {
  return {
    arity: 0,
    infer: (_, attrs) => [infer(attrs)],
    evaluate: () => {
      throw new Error("internal: sources are fed, not evaluated")
    },
    onnx: "source",
    gradient: "none",
  }
}

export const OPS: { readonly [K in OpName]: OpDef<OpAttrs[K]> } = {
  input: source(({ dtype, shape }) => ({ dtype, shape })),
  weight: source(({ dtype, shape }) => ({ dtype, shape })),
  constant: source(({ value }) => ({ dtype: value.dtype, shape: value.shape })),
  dimValue: {
    arity: 0,
    infer: (_, { dtype, rank }) => [{ dtype, shape: new Array<number>(rank).fill(1) }],
    evaluate: (_, { dim, dtype }, [out], bind) => {
      const data = allocate(dtype, 1)
      store(data, 0, bind(dim))
      return [{ dtype, shape: out!.shape, data }]
    },
    onnx: (emit, { attrs, outputs }) => {
      const value = emit.temp("Cast", [emit.shape([attrs.dim])], { to: emit.dtype(attrs.dtype) })
      emit.op("Reshape", [value, emit.shape(outputs[0]!.shape)], outputs)
    },
    gradient: "none",
  },
  ...UNARY,
  ...BINARY,
  ...SHAPE,
  ...REDUCE,
  ...TARGET,
  ...TARGET_FUSED,
  cast,
  where,
  matmul,
  linear,
  conv1d,
  conv1dInputGrad,
  conv1dWeightGrad,
  rotary,
  attention,
}

/** The table's entry of a node, for code that treats all ops alike. */
export function opOf(op: OpName): OpDef<OpAttrs[OpName]> {
  return OPS[op] as OpDef<OpAttrs[OpName]>
}

/** Checks arity and infers the outputs' types. */
export function inferOutputs(
  op: OpName,
  inputs: readonly ValueType[],
  attrs: OpAttrs[OpName],
  fail: Fail,
): readonly ValueType[] {
  const entry = opOf(op)
  const [least, most] = typeof entry.arity === "number" ? [entry.arity, entry.arity] : entry.arity
  if (inputs.length < least || inputs.length > most) {
    fail(`expected ${least === most ? least : `${least} to ${most}`} inputs, got ${inputs.length}`)
  }
  const types = entry.infer(inputs, attrs, fail)
  for (const { shape } of types) {
    const ok = shape.every((dim) => typeof dim === "string" || (Number.isInteger(dim) && dim >= 0))
    if (!ok) fail(`expected dims that are integers of at least 0, got ${showShape(shape)}`)
  }
  return types
}

export function isSource(node: Node): boolean {
  return opOf(node.op).onnx === "source"
}
