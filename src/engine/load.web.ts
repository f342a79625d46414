/** @file Loads a model in a Web Worker: from an address or a picked folder, into memory, onto WebAssembly or WebGPU. */
import {
  type FileSource,
  openCheckpoint,
  openFolderHandle,
  openHttpFolder,
  openPickedFiles,
} from "../checkpoint/index.ts"
import {
  type BundleManifest,
  checkBundle,
  checkOwnStorage,
  componentTensors,
  floatWeights,
  OWN_BUNDLE_FOLDER,
  readOwnBundle,
  readOwnManifest,
} from "../convert/index.ts"
import { loadXgrammar } from "../grammar/index.web.ts"
import type { Component } from "../models/minicpmo/index.ts"
import { createOrtWebExecutor, hasGraphicsAdapter } from "../runtime/index.web.ts"
import { openSileroFrom } from "../turns/index.web.ts"
import { ConfigError, sizeText } from "../util/index.ts"
import type { EngineModel } from "./host.ts"
import { type LoadProgress, loadModelFrom } from "./load-model.ts"
import { countWeights, type StoragePlan } from "./memory-plan.ts"
import type { QuantizeKind, WebLoadOptions, WebModelPlace } from "./messages.ts"

/** Weights beyond this leave no room for anything else: the memory of WebAssembly ends at 4 GB. */
const MAX_WEIGHT_BYTES = 3e9

/**
 * @throws ConfigError and CheckpointError naming what is wrong with the folder or what a browser cannot do, BackendError when
 * the device does not work; the signal's reason when aborted
 */
export async function loadModel(
  options: WebLoadOptions,
  onProgress: LoadProgress,
  signal: AbortSignal,
): Promise<EngineModel> {
  const source = openPlace(options.model, signal)
  await source.size("config.json") // says best what is wrong with an address
  const device = options.device === "auto" ? ((await hasGraphicsAdapter()) ? "webgpu" : "wasm") : options.device
  const { threads, wasmPaths } = options
  const openWeights = async (components: readonly Component[]) => {
    const manifest = await readOwnManifest(source)
    const plan = planOf(options.quantize, manifest, source.name)
    checkSize(manifest?.sizeBytes ?? 4 * countWeights(components), source.name)
    const task = {
      onProgress: ({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }) =>
        onProgress("reading", doneBytes / totalBytes),
      signal,
    }
    if (manifest) {
      checkBundle(manifest, components, `${source.name}/${OWN_BUNDLE_FOLDER}`)
      return { plan, weights: await readOwnBundle(source, manifest, task) }
    }
    const ownedPrefixes = components.map(({ prefix }) => prefix)
    const specs = componentTensors(components)
    return { plan, weights: await floatWeights(await openCheckpoint(source), specs, { ...task, ownedPrefixes }) }
  }
  const platform = {
    source,
    name: source.name.split("/").at(-1)!,
    createExecutor: () => createOrtWebExecutor({ device, threads, wasmPaths }),
    openWeights,
    loadXgrammar,
    openSilero: () => openSileroFrom(options.vadModel ?? VAD_MODEL.href, { threads, wasmPaths }),
  }
  return await loadModelFrom(platform, {}, onProgress, signal)
}

/** Bundlers find the file in its package and give it an address. */
const VAD_MODEL = new URL("@ricky0123/vad-web/dist/silero_vad_v5.onnx", import.meta.url)

function openPlace(place: WebModelPlace, signal: AbortSignal): FileSource {
  switch (place.kind) {
    case "url":
      return openHttpFolder(place.url, { signal })
    case "folder":
      return openFolderHandle(place.handle)
    case "files":
      return openPickedFiles(place.name, place.files)
  }
}

/** Weights are taken as they are stored: quantizing takes minutes and memory that pages do not have. */
function planOf(wish: QuantizeKind, manifest: BundleManifest | undefined, where: string): StoragePlan {
  if (manifest) {
    const plan = wish === "auto" ? manifest.options.quantize : wish
    checkOwnStorage(where, manifest, plan)
    return plan
  }
  if (wish === "auto" || wish === "none") return "none"
  throw new ConfigError(
    `quantize: expected none for a model of floats in a browser, got ${wish} ` +
      `(quantize it before: omni convert --model DIR --quantize ${wish} --out NEW, and serve NEW)`,
  )
}

function checkSize(sizeBytes: number, where: string): void {
  if (sizeBytes <= MAX_WEIGHT_BYTES) return
  const advice = "take a smaller model, or a smaller form of it: omni convert --quantize int4"
  throw new ConfigError(
    `${where}: expected at most ${sizeText(MAX_WEIGHT_BYTES)} of weights in a browser, got ${sizeText(sizeBytes)} (${advice})`,
  )
}
