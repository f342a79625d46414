export { writeAnswer } from "./answer.ts"
export { BEHAVIOURS, type BehaviourOptions } from "./behaviour.ts"
export { Call, type CallParts } from "./call.ts"
export { isUnreadable } from "./call-content.ts"
export { toSrt, toVtt } from "./captions.ts"
export { omniChat } from "./chat.ts"
export { Conversation, type OpenedAnswer } from "./conversation.ts"
export type { OmniModel, VoiceParts } from "./model.ts"
export { type ReadAloudOptions, readAloudQuestions } from "./read-aloud.ts"
export { readCallFile, writeCallFile } from "./snapshot-file.ts"
export {
  type TranscriptionOptions,
  type TranscriptPart,
  transcribe,
  transcriptText,
} from "./transcribe.ts"
export type {
  AnswerEvent,
  AnswerFormat,
  AnswerOptions,
  AnswerTimings,
  AnswerUsage,
  AppendedMessage,
  Behaviour,
  CallEvent,
  CallInput,
  CallOptions,
  CallSnapshot,
  ChatMessage,
  ChatOptions,
  ContentPart,
  FinishReason,
  Interruption,
  RespondOptions,
  Sound,
  TokenLogprob,
  Tool,
  ToolCall,
  TurnOptions,
} from "./types.ts"
export { textUsage } from "./usage.ts"
export { spokenPrompt, voicePrompt } from "./voice-prompt.ts"
export { VoiceCache } from "./voices.ts"
