/** @file The language model's config: what is read, and what each wrong field is told. */
import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { ConfigError } from "../../util/index.ts"
import { parseQwen2Config } from "./config.ts"

const GOOD = {
  hidden_size: 48,
  intermediate_size: 100,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 3,
  vocab_size: 50,
  rope_theta: 10000,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 64,
}

describe("a good config", () => {
  test("keeps its numbers under camelCase names; the head size follows", () => {
    expect(parseQwen2Config({ ...GOOD, model_type: "minicpmo", use_cache: true })).toEqual({
      hiddenSize: 48,
      intermediateSize: 100,
      numHiddenLayers: 2,
      numAttentionHeads: 6,
      numKeyValueHeads: 3,
      headSize: 8,
      vocabSize: 50,
      ropeTheta: 10000,
      rmsNormEps: 1e-5,
      maxPositionEmbeddings: 64,
      tieWordEmbeddings: false,
    })
  })

  test("may tie its head", () => {
    expect(parseQwen2Config({ ...GOOD, tie_word_embeddings: true }).tieWordEmbeddings).toBe(true)
  })

  test("may say what it means anyway", () => {
    for (const same of [
      { rope_scaling: null },
      { rope_scaling: { rope_type: "default" } },
      { rope_scaling: { type: "default" } },
      { use_sliding_window: false, sliding_window: 8 },
      { use_sliding_window: true, sliding_window: null },
      { use_sliding_window: true, sliding_window: 64 },
    ]) {
      expect(parseQwen2Config({ ...GOOD, ...same })).toEqual(parseQwen2Config(GOOD))
    }
  })

  test("may have the dims of the recorded checkpoint", () => {
    const path = new URL("../../../test/fixtures/tiny-a/checkpoint/config.json", import.meta.url)
    const json = JSON.parse(readFileSync(path, "utf8")) as { [name: string]: unknown }
    const config = parseQwen2Config(json)
    expect(config.hiddenSize).toBe(json.hidden_size)
    expect(config.headSize * config.numAttentionHeads).toBe(config.hiddenSize)
  })
})

describe("a wrong field is named, with its value", () => {
  const sizes = [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
  ]
  const ADVICE = "(compare with the official config.json)"
  const refuse = (change: { [name: string]: unknown }, message: string, source?: string) => {
    const parse = () => parseQwen2Config({ ...GOOD, ...change }, source)
    expect(parse).toThrow(ConfigError)
    expect(parse).toThrow(message)
  }

  test.each([...sizes, "rope_theta", "rms_norm_eps"])("%s", (name) => {
    refuse({ [name]: undefined }, `config.json: ${name}: expected number, got undefined ${ADVICE}`)
    refuse({ [name]: "48" }, `config.json: ${name}: expected number, got "48" ${ADVICE}`)
    refuse({ [name]: null }, `config.json: ${name}: expected number, got null ${ADVICE}`)
    refuse({ [name]: 0 }, `config.json: ${name}: expected number to be >0, got 0 ${ADVICE}`)
    refuse({ [name]: -3 }, `config.json: ${name}: expected number to be >0, got -3 ${ADVICE}`)
  })

  test.each(sizes)("%s is whole", (name) => {
    refuse({ [name]: 6.5 }, `config.json: ${name}: expected int, got 6.5 ${ADVICE}`)
  })

  test("options with one meaning", () => {
    refuse({ tie_word_embeddings: "no" }, `config.json: tie_word_embeddings: expected boolean, got "no" ${ADVICE}`)
    refuse({ hidden_act: "gelu" }, `config.json: hidden_act: expected "silu", got "gelu" ${ADVICE}`)
  })

  test("what would change results and is not supported", () => {
    refuse(
      { rope_scaling: { type: "linear", factor: 4 } },
      `config.json: rope_scaling.type: expected "default", got "linear" ${ADVICE}`,
    )
    refuse(
      { rope_scaling: { rope_type: "yarn", factor: 4 } },
      `config.json: rope_scaling.rope_type: expected "default", got "yarn" ${ADVICE}`,
    )
    const rule = "use_sliding_window: expected false or a sliding_window of at least max_position_embeddings"
    const advice = "(attention over a window is not supported)"
    refuse({ use_sliding_window: true, sliding_window: 63 }, `config.json: ${rule}, got true, 63, 64 ${advice}`)
    const long = { use_sliding_window: true, max_position_embeddings: 32768 }
    refuse(long, `config.json: ${rule}, got true, 4096, 32768 ${advice}`)
  })

  test("heads that do not divide", () => {
    const rule = "expected hidden_size to be a multiple of num_attention_heads and that of num_key_value_heads"
    refuse({ num_attention_heads: 5 }, `config.json: ${rule}, got 48, 5, 3`)
    refuse({ num_key_value_heads: 4 }, `config.json: ${rule}, got 48, 6, 4`)
    const odd = { hidden_size: 18, num_attention_heads: 6 }
    refuse(odd, "config.json: expected an even head size for rotary, got 3")
  })

  test("the file, when it is no object; under the name given", () => {
    expect(() => parseQwen2Config([1], "my/config.json")).toThrow(
      `my/config.json: the file: expected object, got [1] ${ADVICE}`,
    )
    expect(() => parseQwen2Config(null)).toThrow(`config.json: the file: expected object, got null ${ADVICE}`)
    refuse({ vocab_size: 0 }, "a/config.json: vocab_size: expected number to be >0, got 0", "a/config.json")
  })
})
