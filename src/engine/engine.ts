/**
 * @file What an engine offers to those above it (library, server, commands, page), whatever carries the messages. Inputs are
 * ready: pixels decoded, sound as samples.
 */
import type {
  AnswerEvent,
  AppendedMessage,
  CallEvent,
  CallInput,
  CallOptions,
  CallSnapshot,
  ChatOptions,
  Interruption,
  RespondOptions,
} from "../session/index.ts"
import type { ModelInfo } from "./messages.ts"
import type { QueueLoad } from "./step-queue.ts"

export type Engine = {
  readonly info: ModelInfo
  /** The events of one answer. Leaving the loop early cancels it. @throws InputError, BackendError, the signal's reason */
  chat(options: ChatOptions, signal?: AbortSignal): AsyncGenerator<AnswerEvent, void, void>
  /** A live conversation, empty or from a snapshot. Events other than answers go to `onEvent`. */
  call(options: CallOptions, parts?: CallParts): Promise<EngineCall>
  /** Load of the engine right now. */
  stats(): Promise<EngineStats>
}

export type CallParts = {
  readonly onEvent?: (event: CallEvent) => void
  readonly snapshot?: CallSnapshot
  readonly signal?: AbortSignal
}

/** One conversation. Commands are obeyed in order; `push` and `interrupt` also while an answer is being made. */
export type EngineCall = AsyncDisposable & {
  /**
   * Takes input. Resolves when it was read, or, during an answer, when it was kept for after it: waiting for it before the
   * next push is the back-pressure.
   */
  push(input: CallInput): Promise<void>
  /** Adds a whole message that was not spoken now, such as an earlier turn or a tool's result. */
  append(message: AppendedMessage): Promise<void>
  /** Ends the user's turn and answers it. Leaving the loop early interrupts the answer. */
  respond(options?: RespondOptions, signal?: AbortSignal): AsyncGenerator<AnswerEvent, void, void>
  /**
   * Stops the answer, or cuts the latest one, to what was heard: milliseconds of its sound that were played, everything
   * delivered when absent.
   */
  interrupt(options?: { readonly heardMs?: number }): Promise<Interruption>
  /** What was pushed so far stays, whatever is cleared later. Answers and messages keep what was before them as well. */
  keep(): Promise<void>
  /** Forgets what was pushed since it was last kept, read or not. */
  clear(): Promise<void>
  snapshot(): Promise<CallSnapshot>
  close(): Promise<void>
}

export type EngineStats = QueueLoad & {
  /** Pieces of work that take turns right now. */
  readonly activeTasks: number
  readonly openCalls: number
  /** Answers of calls that are being made, or wait for their turn. */
  readonly answering: number
  /** Resident memory of the engine's process; 0 in browsers, which do not tell. */
  readonly memoryBytes: number
}
