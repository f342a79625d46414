/**
 * @file A model folder that shares no size with the others: widths that no power of two divides, other heads, layers and
 * positions, other image settings, a head that is the embeddings, and special strings under ids of their own.
 */
import { folderSink } from "../checkpoint/index.node.ts"
import { writeCheckpoint, writePt, writeText } from "../checkpoint/index.ts"
import {
  type ModelPlan,
  modelFiles,
  modelPlan,
  officialTensors,
  randomTensors,
  vocosTensors,
} from "../convert/index.ts"
import { VOCOS_FILE } from "../models/minicpmo/index.ts"

const stack = (inner: number, hidden: number, outer: number, depth: number) => {
  return { inner, bottleneck: 14, hidden, intermediate: 3 * hidden, outer, depth, kernel: 5 }
}

function oddPlan(): ModelPlan {
  const { config } = modelPlan("nano")
  const { vision_config: vision, audio_config: audio, slice_config: slices, ...rest } = config
  return {
    config: {
      ...rest,
      hidden_size: 384,
      intermediate_size: 210,
      num_attention_heads: 6,
      num_key_value_heads: 3,
      num_hidden_layers: 2,
      vocab_size: 1111,
      rms_norm_eps: 1e-5,
      rope_theta: 50_000,
      tie_word_embeddings: true,
      query_num: 25,
      drop_vision_last_layer: true,
      slice_config: { ...(slices as object), max_slice_nums: 4 },
      vision_batch_size: 3,
      vision_config: {
        ...(vision as object),
        hidden_size: 42,
        intermediate_size: 90,
        num_attention_heads: 3,
        num_hidden_layers: 4,
        image_size: 210,
      },
      audio_config: {
        ...(audio as object),
        d_model: 36,
        encoder_attention_heads: 3,
        encoder_ffn_dim: 144,
        encoder_layers: 2,
        max_source_positions: 700,
      },
      tts_config: {
        ...config.tts_config,
        llm_dim: 384,
        hidden_size: 60,
        intermediate_size: 52,
        num_attention_heads: 5,
        num_hidden_layers: 2,
        num_text_tokens: 640,
        top_k: 7,
        top_p: 0.9,
        repetition_penalty: 1.1,
      },
    },
    sizes: {
      dvae: {
        melBins: 100,
        channels: 22,
        codebooks: 4,
        digits: 4,
        encoder: stack(22, 18, 44, 1),
        decoder: stack(22, 26, 22, 3),
      },
      vocos: { melBins: 100, hidden: 34, intermediate: 70, depth: 2, embedKernel: 7, kernel: 5, fftSize: 1024 },
      deadTokenRows: 3,
    },
  }
}

type Ids = { readonly [token: string]: number }

/** Gives the added special strings behind the base vocabulary each other's ids, in all files that name them. */
function exchangeIds(files: Map<string, string>): void {
  const ids = JSON.parse(files.get("added_tokens.json")!) as Ids
  const base = Object.keys(JSON.parse(files.get("vocab.json")!) as Ids).length
  const behind = Object.values(ids).filter((id) => id >= base)
  const [first, last] = [Math.min(...behind), Math.max(...behind)]
  const other = (id: number): number => (id >= first && id <= last ? first + last - id : id)
  files.set(
    "added_tokens.json",
    JSON.stringify(Object.fromEntries(Object.entries(ids).map(([k, id]) => [k, other(id)]))),
  )
  const json = JSON.parse(files.get("tokenizer.json")!) as { added_tokens: { id: number }[] }
  const added = json.added_tokens.map((token) => ({ ...token, id: other(token.id) })).sort((a, b) => a.id - b.id)
  files.set("tokenizer.json", JSON.stringify({ ...json, added_tokens: added }))
  const settings = JSON.parse(files.get("tokenizer_config.json")!) as { added_tokens_decoder: object }
  const decoder = Object.entries(settings.added_tokens_decoder).map(([id, token]) => [String(other(Number(id))), token])
  files.set("tokenizer_config.json", JSON.stringify({ ...settings, added_tokens_decoder: Object.fromEntries(decoder) }))
  for (const name of ["config.json", "generation_config.json"]) {
    const config = JSON.parse(files.get(name)!) as { [field: string]: number | number[] }
    for (const field of ["bos_token_id", "eos_token_id", "pad_token_id"]) {
      const value = config[field]
      if (value !== undefined) config[field] = Array.isArray(value) ? value.map(other) : other(value)
    }
    files.set(name, JSON.stringify(config))
  }
}

/** Makes the folder. */
export async function makeOddCheckpoint(directory: string): Promise<void> {
  const plan = oddPlan()
  const made = modelFiles(plan)
  const files = new Map(made.files)
  exchangeIds(files)
  const image = JSON.parse(files.get("preprocessor_config.json")!) as object
  const changed = { max_slice_nums: 4, image_feature_size: 25, scale_resolution: 210 }
  const norm = { norm_mean: [0.4, 0.5, 0.6], norm_std: [0.3, 0.5, 0.25] }
  files.set("preprocessor_config.json", JSON.stringify({ ...image, ...changed, ...norm }))
  const sink = folderSink(directory)
  for (const [path, text] of files) await writeText(sink, path, text)
  const specs = officialTensors(made.config, plan.sizes)
  const tensors = [...specs].map(([name, { shape }]) => ({ name, dtype: "bf16" as const, shape }))
  await writeCheckpoint(sink, tensors, randomTensors(specs, 11), {})
  await writePt(sink, VOCOS_FILE, vocosTensors(plan.sizes, 11))
}
