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
