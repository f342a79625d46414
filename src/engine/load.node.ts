/** @file Loads a model folder from disk in Node.js: weights in the storage that fits the memory, programs on a native device. */
import { existsSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import { openFolder } from "../checkpoint/index.node.ts"
import { openModelWeights } from "../convert/index.node.ts"
import { readOwnManifest } from "../convert/index.ts"
import { loadXgrammar } from "../grammar/index.node.ts"
import type { Component } from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor, useVulkanDriver } from "../runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../runtime/index.ts"
import { openSilero } from "../turns/index.node.ts"
import { CheckpointError } from "../util/index.ts"
import type { EngineModel } from "./host.ts"
import { type LoadProgress, loadModelFrom } from "./load-model.ts"
import { choosePlan, countWeights, planBytes } from "./memory-plan.ts"
import type { Device, LoadOptions } from "./messages.ts"

function createExecutor(device: Device, threads: number | undefined): Executor {
  if (device === "reference") return createReferenceExecutor()
  if (device === "webgpu") useVulkanDriver(process.env)
  return createOrtNodeExecutor({ device: device === "auto" ? "cpu" : device, threads })
}

/**
 * @throws ConfigError and CheckpointError naming what is wrong with the folder; the signal's reason when aborted
 */
export async function loadModel(
  options: LoadOptions,
  onProgress: LoadProgress,
  signal: AbortSignal,
): Promise<EngineModel> {
  const directory = resolve(options.model)
  if (!existsSync(join(directory, "config.json"))) {
    throw new CheckpointError(
      `${options.model}: expected a model folder with a config.json, got none (give the folder of a checkpoint, or make one with omni init)`,
    )
  }
  await using source = openFolder(directory)
  const openWeights = async (components: readonly Component[]) => {
    // `auto` for a folder that has a bundle instead of floats means what that bundle holds.
    const own = options.quantize === "auto" ? await readOwnManifest(source) : undefined
    const plan = choosePlan(
      own?.options.quantize ?? options.quantize,
      countWeights(components),
      (candidate) => planBytes(components, candidate),
      process.availableMemory(),
    )
    const weights = await openModelWeights({
      directory,
      quantize: plan,
      cacheDirectory: options.cacheFolder,
      threads: options.threads,
      onProgress: ({ doneBytes, totalBytes }) => onProgress("quantizing", doneBytes / totalBytes),
      signal,
    })
    return { plan, weights }
  }
  const platform = {
    source,
    name: basename(directory),
    createExecutor: () => createExecutor(options.device, options.threads),
    openWeights,
    loadXgrammar,
    openSilero,
  }
  return await loadModelFrom(platform, options, onProgress, signal)
}
