/** @file Text chat: messages to a prompt, the prompt to an answer, the answer as text pieces that are safe to show. */
import {
  checkSampling,
  DEFAULT_SAMPLING,
  generate,
  type LanguageModel,
  type SamplingOptions,
  type TokenModel,
} from "../inference/index.ts"
import { type ChatTemplate, type OmniTokenizer, TTS_EOS, terminatorIds } from "../tokenizer/index.ts"
import { createRandom, InputError } from "../util/index.ts"

/** One message of a conversation. */
export type TextMessage = { readonly role: "system" | "user" | "assistant"; readonly content: string }

export type TextChatOptions = Partial<SamplingOptions> & {
  readonly messages: readonly TextMessage[]
  readonly maxNewTokens?: number
  readonly seed?: number
}

/** What an answer consists of; undefined steps are work without output. */
export type TextChatEvent =
  | { readonly type: "text-delta"; readonly text: string }
  | {
      readonly type: "turn-end"
      readonly finishReason: "stop" | "length"
      /** All deltas joined. Unlike the official code's text it keeps every `!`, which is token 0 there. */
      readonly text: string
      readonly promptTokens: number
      readonly completionTokens: number
      /** Milliseconds: prompt to first token, then all later tokens. */
      readonly prefillMs: number
      readonly decodeMs: number
    }

/** The parts a chat needs. */
export type TextChatModel = {
  readonly model: TokenModel & Pick<LanguageModel, "createCache">
  readonly tokenizer: OmniTokenizer
  readonly template: ChatTemplate
}

/** Answer length of the official `chat`. */
const DEFAULT_MAX_NEW_TOKENS = 2048

/** @throws InputError naming what is wrong with the request */
export function checkTextChat({ messages, maxNewTokens, seed, ...sampling }: TextChatOptions): void {
  if (messages.length === 0) throw new InputError("messages: expected at least one, got none")
  if (messages.at(-1)!.role !== "user") {
    throw new InputError(`messages: expected the last one from the user, got ${messages.at(-1)!.role}`)
  }
  for (const [name, value] of Object.entries({ maxNewTokens, seed })) {
    const least = name === "seed" ? 0 : 1
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least)) {
      throw new InputError(`${name}: expected a whole number ≥ ${least}, got ${value}`)
    }
  }
  checkSampling({ ...DEFAULT_SAMPLING, ...sampling })
}

/**
 * Answers a conversation; each `next()` is one step of work.
 * @throws InputError when the request is wrong or the prompt exceeds the context
 */
export async function* textChat(
  { model, tokenizer, template }: TextChatModel,
  options: TextChatOptions,
  now: () => number,
): AsyncGenerator<TextChatEvent | undefined, void, void> {
  checkTextChat(options)
  const { messages, maxNewTokens = DEFAULT_MAX_NEW_TOKENS, seed = 0, ...sampling } = options
  const ids = tokenizer.encode(template(messages, { addGenerationPrompt: true }))
  const terminators = terminatorIds(tokenizer)
  const start = now()
  const steps = generate(model, model.createCache(), model.embed(ids), {
    ...DEFAULT_SAMPLING,
    ...sampling,
    maxNewTokens,
    terminators,
    reserved: tokenizer.reservedIds(model.config.vocabSize),
    random: createRandom(seed),
  })
  const decoder = tokenizer.createDecoder()
  let completionTokens = 0
  let answer = ""
  let firstToken = start
  const hidden = new Set([...terminators, tokenizer.idOf(TTS_EOS)])
  for (;;) {
    const { done, value } = await steps.next()
    if (done) {
      const rest = decoder.flush()
      answer += rest
      if (rest !== "") yield { type: "text-delta", text: rest }
      yield {
        type: "turn-end",
        finishReason: value,
        text: answer,
        promptTokens: ids.length,
        completionTokens,
        prefillMs: firstToken - start,
        decodeMs: now() - firstToken,
      }
      return
    }
    if (value) {
      if (completionTokens === 0) firstToken = now()
      completionTokens++
      const text = hidden.has(value.id) ? "" : decoder.push(value.id)
      answer += text
      if (text !== "") {
        yield { type: "text-delta", text }
        continue
      }
    }
    yield undefined
  }
}
