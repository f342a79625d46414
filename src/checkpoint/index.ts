export { type JsonObject, parseJsonObject, readJsonObject, readText } from "./config-file.ts"
export { openHttpFolder } from "./http-folder.ts"
export { openFolderHandle, openPickedFiles, type PickedFile } from "./picked-folder.ts"
export { openPt } from "./pt.ts"
export { writePt } from "./pt-writer.ts"
export { INDEX_FILE, openCheckpoint, openSafetensors, SINGLE_FILE } from "./safetensors.ts"
export {
  type TensorPlan,
  type TensorProducer,
  type WriteOptions,
  type WriteResult,
  writeCheckpoint,
  writeSafetensors,
} from "./safetensors-writer.ts"
export { type FileSink, type FileWriter, memorySink, writeFile, writeText } from "./sink.ts"
export { checkPath, checkRange, type FileSource, memorySource, missingFile } from "./source.ts"
export {
  checkAgainstSpecs,
  type LazyTensor,
  type LoadOptions,
  lazyWeights,
  loadWeights,
  shapesOf,
} from "./strict-load.ts"
export type {
  Checkpoint,
  RowChunk,
  TensorInfo,
} from "./tensor-reader.ts"
