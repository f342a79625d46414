export {
  checkTextChat,
  type TextChatEvent,
  type TextChatModel,
  type TextChatOptions,
  type TextMessage,
  textChat,
} from "./text-chat.ts"
