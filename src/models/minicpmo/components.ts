/** @file The components of the model that have weight specs, and how each of their weights is used. */
import type { SpecTree } from "../../tensor/index.ts"
import { parseQwen2Config } from "./config.ts"
import { LLM_PREFIX, qwen2Spec } from "./qwen2.ts"

/** One component: its tensors, and those among them that are used in a special way. */
export type Component = {
  /** First part of its tensors' names. */
  readonly prefix: string
  readonly spec: SpecTree
  /** Tables read by rows: they stay as they are and never enter a graph whole. */
  readonly byRow: readonly string[]
  /** Linear weights that meet one row at a time, also during prefill. */
  readonly oneRow: readonly string[]
}

/**
 * @param config the parsed config.json
 * @param source names the file in errors
 * @throws ConfigError naming the first wrong field
 */
export function componentSpecs(config: unknown, source = "config.json"): Component[] {
  const qwen2 = parseQwen2Config(config, source)
  return [
    {
      prefix: LLM_PREFIX,
      spec: qwen2Spec(qwen2),
      byRow: [`${LLM_PREFIX}.model.embed_tokens.weight`],
      oneRow: qwen2.tieWordEmbeddings ? [] : [`${LLM_PREFIX}.lm_head.weight`],
    },
  ]
}
