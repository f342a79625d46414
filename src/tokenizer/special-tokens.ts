/**
 * @file The special strings of MiniCPM-o 2.6, by name. Ids are never listed here: they belong to a checkpoint.
 * Source: its tokenizer_config.json and that of its speech decoder, which lists ChatTTS's.
 */

/** Placeholder in every image, slice and audio span; an entry of the base vocabulary that is flagged special. */
export const UNK = "<unk>"
export const IM_START = "<|im_start|>"
export const IM_END = "<|im_end|>"
export const END_OF_TEXT = "<|endoftext|>"
export const TTS_BOS = "<|tts_bos|>"
export const TTS_EOS = "<|tts_eos|>"
export const AUDIO_START = "<|audio_start|>"
export const AUDIO_END = "<|audio_end|>"
/** Around the one position whose hidden state describes the voice of the answer. */
export const SPK_BOS = "<|spk_bos|>"
export const SPK = "<|spk|>"
export const SPK_EOS = "<|spk_eos|>"
/** Opens one second of video and sound; written by whoever makes the units. */
export const UNIT = "<unit>"

/** Control strings of the base language model. */
const CONTROL = [
  END_OF_TEXT,
  IM_START,
  IM_END,
  ...["object_ref", "box", "quad", "vision"].flatMap((name) => [`<|${name}_start|>`, `<|${name}_end|>`]),
  "<|vision_pad|>",
  "<|image_pad|>",
  "<|video_pad|>",
]

/** Matched whole like the others, yet kept by a decode that skips special tokens. */
const TEXTUAL = [
  "<tool_call>",
  "</tool_call>",
  "<|fim_prefix|>",
  "<|fim_middle|>",
  "<|fim_suffix|>",
  "<|fim_pad|>",
  "<|repo_name|>",
  "<|file_sep|>",
]

/** Strings the multimodal model adds. */
export const MULTIMODAL_TOKENS: readonly string[] = [
  ...["image", "ref", "box", "quad", "point", "slice", "image_id", "unit", "asr", "query"].flatMap((name) => [
    `<${name}>`,
    `</${name}>`,
  ]),
  AUDIO_START,
  "<|audio|>",
  AUDIO_END,
  SPK_BOS,
  SPK,
  SPK_EOS,
  TTS_BOS,
  TTS_EOS,
  "<|listen|>",
  "<|speak|>",
  "<|interrupt|>",
  "<|vad_start|>",
  "<|vad_end|>",
  "<reserved_43>",
  "<reserved_53>",
]

/** Every added string in id order, without `<unk>`, which stands inside the base vocabulary. */
export const ADDED_TOKENS: readonly string[] = [...CONTROL, ...TEXTUAL, ...MULTIMODAL_TOKENS]

const textual = new Set(TEXTUAL)

/** Whether a decode that skips special tokens drops this added string. */
export const isSpecialName = (name: string): boolean => !textual.has(name)

const numbered = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `[${name}_${i}]`)

/** The five strings every BERT vocabulary has; `[PAD]` first, because padding uses id 0. */
export const BERT_TOKENS: readonly string[] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

/** Strings the speech decoder's tokenizer adds after its base vocabulary, in id order. */
export const TTS_TOKENS: readonly string[] = [
  ...["[Sasr]", "[Pasr]", "[Easr]", "[Stts]", "[Ptts]", "[Etts]"],
  ...["[Sbreak]", "[Pbreak]", "[Ebreak]", "[uv_break]", "[v_break]", "[lbreak]", "[llbreak]", "[undefine]", "[laugh]"],
  ...["[spk_emb]", "[empty_spk]", "[music]", "[pure]"],
  ...numbered("break", 8),
  ...numbered("laugh", 3),
  ...numbered("oral", 10),
  ...numbered("speed", 10),
]
