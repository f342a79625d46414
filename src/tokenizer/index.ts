export { answerText, decodableLength, terminatorIds } from "./answer-text.ts"
export { learnMerges } from "./bpe-train.ts"
export { type BuiltTokenizer, buildTokenizer, MIN_VOCAB_SIZE } from "./build.ts"
export { type BuiltTtsTokenizer, buildTtsTokenizer, MIN_TTS_VOCAB_SIZE } from "./build-tts.ts"
export {
  AUDIO_MARKER,
  argumentData,
  type ChatTemplate,
  IMAGE_MARKER,
  joinContent,
  loadChatTemplate,
  SPEECH_SLOTS,
  type TemplateMessage,
  type TemplateOptions,
  TTS_GENERATION_PROMPT,
  ttsChatTemplate,
  turnText,
} from "./chat-template.ts"
export { readTokenizer, readTtsTokenizer, type TextFiles, TTS_TOKENIZER_FOLDER } from "./files.ts"
export { type PlainTextGuard, plainTextGuard } from "./plain-text.ts"
export { isMarkedNumber } from "./python-numbers.ts"
export {
  ADDED_TOKENS,
  AUDIO_END,
  AUDIO_START,
  END_OF_TEXT,
  IM_END,
  IM_START,
  SPK,
  SPK_BOS,
  SPK_EOS,
  TTS_BOS,
  TTS_EOS,
  TTS_TOKENS,
  UNIT,
  UNK,
} from "./special-tokens.ts"
export { DEFAULT_SYSTEM_TEXT, STOCK_CHAT_TEMPLATE } from "./stock-chat-template.ts"
export { type PromptLanguage, type SystemPromptMode, systemPromptItems } from "./system-prompts.ts"
export { detectLanguage, digitsToWords, type SpokenLanguage, sentenceEnd, speakable } from "./text-helpers.ts"
export { type DecodeOptions, loadTokenizer, type OmniTokenizer, type StreamDecoder } from "./tokenizer.ts"
export { type TokenizerConfig, type TokenizerJson, tokenizerJsonFromParts } from "./tokenizer-json.ts"
export {
  loadTtsTokenizer,
  type TtsPrompt,
  type TtsPromptConfig,
  type TtsPromptLayout,
  type TtsTokenizer,
  ttsPrompt,
  ttsPromptLayout,
  ttsTextMask,
} from "./tts-tokenizer.ts"
