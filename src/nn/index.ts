export { type Conv1dOptions, type ConvSpec, conv1d, conv1dSpec, unbiasedConv1dSpec } from "./conv.ts"
export { convNext, convNextSpec } from "./conv-next.ts"
export {
  biasedLinearSpec,
  bindWeights,
  embedding,
  embeddingSpec,
  type GraphWeights,
  type LinearSpec,
  layerNorm,
  layerNormSpec,
  linear,
  linearSpec,
  rmsNorm,
  rmsNormSpec,
} from "./layers.ts"
export { rotaryTables, rotateKey } from "./rotary.ts"
