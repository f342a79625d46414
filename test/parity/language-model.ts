/** @file Cases `llm*`: prefill whole and in pieces, greedy steps, left-padded batches, the sampler's distribution. */

import { readJsonObject, readText } from "../../src/checkpoint/index.ts"
import { readComponent } from "../../src/inference/component-weights.ts"
import { argMax, candidates, LanguageModel, processLogits } from "../../src/inference/index.ts"
import { LLM_PREFIX, parseQwen2Config, qwen2Slot, qwen2Spec } from "../../src/models/minicpmo/index.ts"
import type { Executor, KvCache } from "../../src/runtime/index.ts"
import { f32, f32Data, type HostTensor, tensor } from "../../src/tensor/index.ts"
import { readTokenizer, terminatorIds } from "../../src/tokenizer/index.ts"
import { runSteps } from "../../src/util/index.ts"
import { type GoldenSet, readArrays } from "./golden-set.ts"
import type { CaseRunner } from "./runner.ts"

/** The language model of a set on a device, in exact float32. */
export async function loadLanguageModel(set: GoldenSet, executor: Executor): Promise<LanguageModel> {
  const config = parseQwen2Config(await readJsonObject(set.checkpointFolder, "config.json"))
  const weights = await readComponent(set.checkpoint, qwen2Spec(config), LLM_PREFIX)
  const shape = [config.vocabSize, config.hiddenSize]
  const table = f32Data(weights.read("llm.model.embed_tokens.weight", "f32", shape))
  const embeddingRows = (ids: readonly number[]) => {
    const rows = new Float32Array(ids.length * config.hiddenSize)
    for (const [i, id] of ids.entries()) {
      rows.set(table.subarray(id * config.hiddenSize, (id + 1) * config.hiddenSize), i * config.hiddenSize)
    }
    return rows
  }
  return await LanguageModel.load({ config, executor, prefill: weights, decode: weights, embeddingRows })
}

function ids(value: HostTensor): number[] {
  return Array.from(value.data as BigInt64Array, Number)
}

/** The first row of a batch of one as a matrix. */
function matrix(value: HostTensor): HostTensor {
  return { ...value, shape: value.shape.slice(1) } as HostTensor
}

/** [G, T, K] of a slot, without spare capacity. */
function cached(cache: KvCache, layer: number, part: "keys" | "values"): HostTensor {
  const data = cache.snapshot().slots[qwen2Slot(layer)]![part]
  return f32([data.length], data)
}

function rowsOf(parts: readonly HostTensor[]): HostTensor {
  const data = parts.flatMap((part) => [...f32Data(part)])
  return f32([data.length], data)
}

const llm: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const model = await loadLanguageModel(set, executor)
  const prompt = ids(inputs.input_ids!)
  const cache = model.createCache()
  const embeds = model.embed(prompt)
  report.close("embeddings", matrix(embeds), outputs.embeddings!)
  const [hidden, layer1] = await runSteps(model.forward(cache, embeds, { keepHidden: [0] }))
  report.close("layer1", matrix(layer1!), outputs.layer1!)
  const normed = await model.normed(hidden!)
  report.close("last_hidden", matrix(normed), outputs.last_hidden!)
  report.close("logits", matrix(await model.logits(normed)), outputs.logits!)
  report.close("layer0_keys", cached(cache, 0, "keys"), outputs.layer0_keys!)
  report.close("layer0_values", cached(cache, 0, "values"), outputs.layer0_values!)
  report.close("last_layer_keys", cached(cache, model.config.numHiddenLayers - 1, "keys"), outputs.last_layer_keys!)

  const pieces = model.createCache()
  const logits: HostTensor[] = []
  let start = 0
  for (const size of golden.params.prefill_splits as number[]) {
    const [part] = await runSteps(model.forward(pieces, model.embed(prompt.slice(start, start + size))))
    logits.push(await model.logits(await model.normed(part!)))
    start += size
  }
  report.close("logits of the prefill in pieces", rowsOf(logits), outputs.logits!)

  // greedy_ids[0] follows the prompt; logits and states i are those after feeding id i.
  const wanted = ids(outputs.greedy_ids!)
  let next = argMax((await model.lastLogits(hidden!)).logits)
  const got: number[] = []
  const greedyLogits: HostTensor[] = []
  const greedyHidden: HostTensor[] = []
  for (let i = 0; i < wanted.length; i++) {
    got.push(next)
    const [state] = await runSteps(model.forward(cache, model.embed([next])))
    const last = await model.lastLogits(state!)
    greedyLogits.push(f32([last.logits.length], last.logits))
    greedyHidden.push(f32([last.normed.length], last.normed))
    next = argMax(last.logits)
  }
  report.equal("greedy ids", got, wanted)
  report.close("greedy_logits", rowsOf(greedyLogits), outputs.greedy_logits!)
  report.close("greedy_hidden", rowsOf(greedyHidden), outputs.greedy_hidden!)
}

const leftPadding: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const model = await loadLanguageModel(set, executor)
  const [batch, steps] = inputs.input_ids!.shape as [number, number]
  const all = ids(inputs.input_ids!)
  const valid = Uint8Array.from(ids(inputs.attention_mask!))
  const embeds = tensor("f32", [batch, steps, model.config.hiddenSize], model.embed(all).data)
  const [hidden] = await runSteps(model.forward(model.createCache(batch), embeds, { valid }))
  const { logits } = await model.lastLogits(hidden!)
  report.close("logits_last", f32([logits.length], logits), outputs.logits_last!)
  const everything = f32Data(await model.logits(await model.normed(hidden!)))
  const padding = valid.subarray(steps, 2 * steps).indexOf(1)
  const row1 = everything.subarray((steps + padding) * model.config.vocabSize, 2 * steps * model.config.vocabSize)
  report.close("logits_row1_valid", f32([row1.length], row1), outputs.logits_row1_valid!)
}

const sampling: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const { params } = golden
  const model = await loadLanguageModel(set, executor)
  const { tokenizer } = await readTokenizer({ readText: (path) => readText(set.checkpointFolder, path) })
  const terminators = terminatorIds(tokenizer)
  const options = {
    temperature: params.temperature as number,
    topK: params.top_k as number,
    topP: params.top_p as number,
    repetitionPenalty: params.repetition_penalty as number,
    minNewTokens: params.min_new_tokens as number,
  }
  const prompt = ids(inputs.input_ids!)
  const cache = model.createCache()
  const seen = [...prompt]
  const vocabulary = model.config.vocabSize
  const wanted = ids(outputs.chosen!)
  const logitRows = new Float32Array(wanted.length * vocabulary)
  const probabilityRows = new Float32Array(wanted.length * vocabulary)
  const chosen: number[] = []
  let input = prompt
  for (let step = 0; step < wanted.length; step++) {
    const [hidden] = await runSteps(model.forward(cache, model.embed(input)))
    const { logits } = await model.lastLogits(hidden!)
    logitRows.set(logits, step * vocabulary)
    processLogits(logits, options, { seen, newTokens: step, terminators, reserved: [] })
    const left = candidates(logits, options)
    for (const [i, id] of left.ids.entries()) probabilityRows[step * vocabulary + id] = left.probabilities[i]!
    const id = left.ids[0]!
    chosen.push(id)
    seen.push(id)
    input = [id]
  }
  report.close("logits", f32([logitRows.length], logitRows), outputs.logits!)
  report.close("probs", f32([probabilityRows.length], probabilityRows), outputs.probs!)
  report.equal("chosen", chosen, wanted)
}

export const languageModelCases = { llm, llm_left_padding: leftPadding, llm_sampling: sampling }
