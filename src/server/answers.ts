/** @file One answer of the engine under the server's rules: admission, idle time, metrics. */
import type { AnswerEvent, ChatOptions } from "../session/index.ts"
import type { RequestInfo, ServerContext } from "./context.ts"

type End = Extract<AnswerEvent, { type: "turn-end" }>

/**
 * The events of an answer. The engine's place must be held. Ends with an error when nothing comes for too long.
 * @throws what the engine throws; `TimeoutError` when it is silent
 */
export async function* answerEvents(
  options: ChatOptions,
  context: ServerContext,
  info: RequestInfo,
): AsyncGenerator<AnswerEvent, void, void> {
  const idle = new AbortController()
  const timer = setTimeout(() => {
    idle.abort(new DOMException("the engine gave nothing for too long", "TimeoutError"))
  }, context.limits.idleMs)
  const signal = AbortSignal.any([info.signal, idle.signal])
  try {
    for await (const event of context.source.engine.chat(options, signal)) {
      timer.refresh()
      if (event.type === "turn-end") noteEnd(event, context, info)
      yield event
    }
  } catch (error) {
    signal.throwIfAborted() // why it was stopped says more than that it was
    throw error
  } finally {
    clearTimeout(timer)
  }
}

function noteEnd(event: End, context: ServerContext, info: RequestInfo): void {
  context.metrics.answer(event)
  info.note({
    promptTokens: event.promptTokens,
    completionTokens: event.completionTokens,
    audioMs: Math.round(event.audioMs),
  })
}

/** Takes a place, tells in a header how many were before, and runs. The place is given back in any case. */
export async function admitted<T>(context: ServerContext, info: RequestInfo, work: () => Promise<T>): Promise<T> {
  const leave = await enter(context, info)
  try {
    return await work()
  } finally {
    leave()
  }
}

/** A place among the running requests; the caller gives it back. */
export async function enter(context: ServerContext, info: RequestInfo): Promise<() => void> {
  let told = false
  return await context.admission.enter(info.owner, info.signal, ({ before }) => {
    if (told) return
    told = true
    info.note({ queuedBehind: before })
    info.header("x-omni-queue-position", String(before + 1))
  })
}
