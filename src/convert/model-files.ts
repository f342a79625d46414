/** @file The text files of a new model folder: configs and both tokenizers. */
import { buildTokenizer, buildTtsTokenizer, END_OF_TEXT, IM_END, TTS_TOKENIZER_FOLDER } from "../tokenizer/index.ts"
import type { ConfigJson, ModelPlan } from "./presets.ts"

/** What is said of random weights; training takes it out of config.json. */
export const UNTRAINED_FIELD = "untrained"

/** Texts by path, and the config.json among them as it was written. */
export type ModelFiles = { readonly files: ReadonlyMap<string, string>; readonly config: ConfigJson }

/** @param texts what the tokenizer's merges are learned from; a little English and Chinese of our own when absent */
export function modelFiles({ config }: ModelPlan, texts?: Iterable<string>): ModelFiles {
  const tokenizer = buildTokenizer({ vocabSize: config.vocab_size, ...(texts ? { texts } : {}) })
  const tts = buildTtsTokenizer({ size: config.tts_config.num_text_tokens })
  const ids = JSON.parse(tokenizer.files["added_tokens.json"]) as { readonly [token: string]: number }
  const [endOfText, imEnd] = [ids[END_OF_TEXT]!, ids[IM_END]!]
  const complete: ConfigJson = {
    ...config,
    [UNTRAINED_FIELD]: true,
    bos_token_id: endOfText,
    eos_token_id: imEnd,
    tts_config: { ...config.tts_config, ...tts.config },
  }
  const generation = {
    bos_token_id: endOfText,
    eos_token_id: [imEnd, endOfText],
    pad_token_id: endOfText,
    do_sample: true,
    temperature: 0.7,
    top_p: 0.8,
    top_k: 100,
    repetition_penalty: 1.05,
    transformers_version: "4.44.2",
  }
  const texted = (value: unknown) => `${JSON.stringify(value, undefined, 1)}\n`
  return {
    config: complete,
    files: new Map([
      ["config.json", texted(complete)],
      ["generation_config.json", texted(generation)],
      ["preprocessor_config.json", texted(PREPROCESSOR)],
      ...Object.entries(tokenizer.files),
      ...Object.entries(tts.files).map(([path, text]) => [`${TTS_TOKENIZER_FOLDER}/${path}`, text] as const),
    ]),
  }
}

/** Source: preprocessor_config.json of openbmb/MiniCPM-o-2_6, with Whisper's fields. */
export const PREPROCESSOR = {
  image_processor_type: "MiniCPMVImageProcessor",
  feature_extractor_type: "WhisperFeatureExtractor",
  auto_map: {
    AutoProcessor: "processing_minicpmo.MiniCPMOProcessor",
    AutoImageProcessor: "image_processing_minicpmv.MiniCPMVImageProcessor",
  },
  processor_class: "MiniCPMOProcessor",
  max_slice_nums: 9,
  scale_resolution: 448,
  patch_size: 14,
  use_image_id: true,
  image_feature_size: 64,
  im_start: "<image>",
  im_end: "</image>",
  slice_start: "<slice>",
  slice_end: "</slice>",
  unk: "<unk>",
  im_id_start: "<image_id>",
  im_id_end: "</image_id>",
  slice_mode: true,
  norm_mean: [0.5, 0.5, 0.5],
  norm_std: [0.5, 0.5, 0.5],
  version: 2.6,
  feature_size: 80,
  sampling_rate: 16000,
  hop_length: 160,
  n_fft: 400,
  chunk_length: 30,
  n_samples: 480000,
  nb_max_frames: 3000,
  padding_side: "right",
  padding_value: 0.0,
  return_attention_mask: false,
}
