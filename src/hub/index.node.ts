export {
  type LocalModel,
  listModels,
  type ModelPlaces,
  missingModelFiles,
  removeModel,
  resolveModel,
} from "./cache.node.ts"
export { freeSpace } from "./part-file.node.ts"
export { type PullOptions, type PullResult, pullModel } from "./pull.node.ts"
