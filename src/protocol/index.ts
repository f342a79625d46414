export { type ApiErrorBody, firstIssue } from "./api-error.ts"
export {
  SPEECH_FORMATS,
  type SpeechRequest,
  speechRequestSchema,
  TRANSCRIPT_FORMATS,
  type TranscriptionFields,
  type TranscriptSegment,
  transcriptionFieldsSchema,
  voiceNameSchema,
} from "./audio.ts"
export {
  type ChatDelta,
  type ChatLogprob,
  type ChatPart,
  type ChatRequest,
  type ChatRequestMessage,
  type ChatToolCall,
  type ChatToolCallDelta,
  type ChatUsage,
  chatRequestSchema,
  chatUsage,
} from "./chat.ts"
export { ignoredFields } from "./ignored-fields.ts"
export { parseClientEvent, parseServerEvent, printEvent, RealtimeInputError } from "./realtime.ts"
export { eventToBeta, sessionFromBeta } from "./realtime-beta.ts"
export {
  clientEventSchema,
  type RealtimeClientEvent,
  type RealtimeResponseCreate,
  responseCreateSchema,
} from "./realtime-client.ts"
export { itemSchema, type RealtimeItem, type RealtimeStoredItem, type RealtimeUserPart } from "./realtime-items.ts"
export {
  type RealtimeError,
  type RealtimeResponse,
  type RealtimeServerEvent,
  type RealtimeServerMessage,
  responseSchema,
  serverEventSchema,
  usageSchema,
} from "./realtime-server.ts"
export {
  audioFormatSchema,
  EXTENSIONS,
  type RealtimeAudioFormat,
  type RealtimeExtension,
  type RealtimeSessionObject,
  type RealtimeSessionUpdate,
  type RealtimeTurnDetection,
  sessionSchema,
  sessionUpdateSchema,
  turnDetectionSchema,
} from "./realtime-session.ts"
