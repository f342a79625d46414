export { type AnswerRecord, type AnswerRequest, DEFAULT_CALL_TOKENS, emptyAnswer, writeAnswer } from "./answer.ts"
export { BEHAVIOURS, type BehaviourOptions } from "./behaviour.ts"
export { Call, type CallParts } from "./call.ts"
export { checkChat, omniChat } from "./chat.ts"
export { Conversation, type ConversationState, type OpenedAnswer, type ReadPiece } from "./conversation.ts"
export { type ConversationModel, type OmniModel, type VoiceParts, voiceOf } from "./model.ts"
export type {
  AnswerEvent,
  AnswerFormat,
  AnswerOptions,
  AnswerTimings,
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
export { VoiceCache } from "./voices.ts"
