/** @file A model for engine tests: answers of given words, one step each, that say how they ended. */
import { type AnswerEvent, type ChatOptions, textUsage } from "../session/index.ts"
import { InputError } from "../util/index.ts"
import type { EngineModel } from "./host.ts"
import type { LoadOptions } from "./messages.ts"

export const LOAD: LoadOptions = { model: "small", device: "cpu", quantize: "none", cacheFolder: "cache" }

/** The request for an answer that repeats these words. */
export const asking = (words: string): ChatOptions => ({ messages: [{ role: "user", content: words }] })

export type FakeModel = EngineModel & { readonly log: string[] }

/** Repeats the user's words, with a silent step before each; "fail" fails, a closed model too. */
export function fakeModel(name = "small"): FakeModel {
  const log: string[] = []
  let closed = false
  return {
    log,
    info: {
      name,
      device: "cpu",
      quantize: "none",
      layers: 1,
      hiddenSize: 2,
      vocabSize: 3,
      loadMs: 4,
      sees: false,
      hears: false,
      speaks: false,
      untrained: false,
    },
    async *chat({ messages }): AsyncGenerator<AnswerEvent | undefined, void, void> {
      const text = messages[0]!.content as string
      try {
        for (const word of text.split(" ")) {
          yield undefined
          if (closed) throw new Error("the model was closed under a step")
          if (word === "fail") throw new InputError("word: expected a good one, got fail")
          log.push(word)
          yield { type: "text-delta", text: word }
        }
        const timings = { prefillMs: 3, totalMs: 7, decodeMs: 4, speechMs: 0 }
        const counts = { audioMs: 0, promptTokens: 1, completionTokens: 2, usage: textUsage(1, 2), timings }
        yield { type: "turn-end", finishReason: "stop", text, ...counts }
      } finally {
        log.push("end")
      }
    },
    // biome-ignore lint/correctness/useYield: it fails before its first step
    async *call() {
      throw new InputError("call: expected a whole model, got a fake")
    },
    async [Symbol.asyncDispose]() {
      closed = true
      log.push("closed")
    },
  }
}
