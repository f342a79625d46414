export { expandForGradient, gradients } from "./autodiff.ts"
export {
  type Dim,
  type DimBindings,
  dimAdd,
  dimFloorDiv,
  dimMul,
  dimOf,
  dimSub,
  dimsEqual,
  evalDim,
  evalShape,
  type Shape,
  shapesEqual,
  showShape,
} from "./dim.ts"
export { type CacheSlot, Graph } from "./graph.ts"
export {
  CACHE_POSITION,
  type LinearStorage,
  type LoweringOptions,
  linearWeight,
  lowerFor,
  storedNames,
  type Target,
} from "./lowering.ts"
export type { Node, OpName, Value, ValueType } from "./node.ts"
export { exportOnnx, modelOutputs, newRowsName, presentName, type WeightData } from "./onnx-emit.ts"
export type { ActivationBits } from "./ops/attrs.ts"
export { isSource, OPS, opOf } from "./ops/table.ts"
export { expandForOnnx, type RewriteRule, rewrite } from "./rewrite.ts"
export { verify } from "./verify.ts"
