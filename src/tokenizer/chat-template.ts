/**
 * @file From messages to the text of a prompt. Two templates: the default one is the checkpoint's own Jinja program and
 * knows tools; the speech one opens the turn in which the model also speaks, and is plain enough to write out.
 */
import { Template } from "@huggingface/jinja"
import { ConfigError, errorText } from "../util/index.ts"
import { dataWithMarkedNumbers, markNumbers, revealNumbers } from "./python-numbers.ts"
import { SPK, SPK_BOS, SPK_EOS, TTS_BOS } from "./special-tokens.ts"
import { STOCK_CHAT_TEMPLATE } from "./stock-chat-template.ts"
import type { TokenizerConfig } from "./tokenizer-json.ts"

/** A message whose media are already markers or placeholders in its text. Field names are those the template reads. */
export type TemplateMessage = {
  role: "system" | "user" | "assistant" | "tool"
  content: string | null
  /** `arguments` is an object, or the JSON text of one, as OpenAI clients send it. */
  tool_calls?: readonly { type?: string; function: { name: string; arguments: unknown } }[]
}

export type TemplateOptions = {
  /** Function descriptions, written into the system block as they are. */
  tools?: readonly unknown[]
  /** Open the assistant's turn. Default true. */
  addGenerationPrompt?: boolean
}

export type ChatTemplate = (messages: readonly TemplateMessage[], options?: TemplateOptions) => string

/** Stands for an image in a message's text until its placeholder is known. */
export const IMAGE_MARKER = "(<image>./</image>)"
/** Stands for a waveform in a message's text until its placeholder is known. */
export const AUDIO_MARKER = "(<audio>./</audio>)"

/**
 * One text from the items of a message's content, media given as their markers.
 * @param omniInput join with nothing, for content made of one-second units; otherwise with line breaks
 */
export const joinContent = (items: readonly string[], omniInput = false): string => items.join(omniInput ? "" : "\n")

/** Follows the opening of the assistant's turn when the answer is to be spoken: the speaker's slot, then speech. */
export const SPEECH_SLOTS = `${SPK_BOS}${SPK}${SPK_EOS}${TTS_BOS}`
/** Opens the assistant's turn with the speaker slot, so that the answer can be spoken. */
export const TTS_GENERATION_PROMPT = `<|im_start|>assistant\n${SPEECH_SLOTS}`

/** A closed turn, as both templates write it. */
export const turnText = (role: string, content: string): string => `<|im_start|>${role}\n${content}<|im_end|>\n`

/** The speech template: every message as its turn, no default system message, no tools. */
export const ttsChatTemplate: ChatTemplate = (messages, options = {}) => {
  const turns = messages.map((message) => turnText(message.role, message.content ?? ""))
  return turns.join("") + (options.addGenerationPrompt === false ? "" : TTS_GENERATION_PROMPT)
}

/**
 * The checkpoint's own template, or the stock one where its configuration has none.
 * @throws ConfigError when the template is not valid Jinja; the returned function throws one when it cannot be rendered
 */
export function loadChatTemplate(config: TokenizerConfig = {}): ChatTemplate {
  const template = parse(templateSource(config))
  const named = { bos_token: config.bos_token, eos_token: config.eos_token }
  return (messages, options = {}) => {
    const tools = options.tools?.length ? options.tools : undefined
    try {
      const text = template.render({
        ...named,
        messages: messages.map(withArgumentData),
        add_generation_prompt: options.addGenerationPrompt ?? true,
        ...(tools === undefined ? {} : { tools: tools.map(markNumbers) }),
      })
      return revealNumbers(text)
    } catch (error) {
      throw new ConfigError(
        `chat template: expected messages it can render, got ${errorText(error)} ` +
          `(roles were ${messages.map((message) => message.role).join(", ")})`,
        { cause: error },
      )
    }
  }
}

function parse(source: string): Template {
  try {
    return new Template(source)
  } catch (error) {
    throw new ConfigError(
      `tokenizer_config.json: expected a Jinja chat_template, got ${errorText(error)} (fetch the file again)`,
      { cause: error },
    )
  }
}

function templateSource(config: TokenizerConfig): string {
  const source = config.chat_template
  if (typeof source === "string") return source
  return source?.find((candidate) => candidate.name === "default")?.template ?? STOCK_CHAT_TEMPLATE
}

function withArgumentData(message: TemplateMessage): Record<string, unknown> {
  if (message.tool_calls === undefined) return { ...message }
  const calls = message.tool_calls.map((call) => {
    return { ...call, function: { ...call.function, arguments: argumentData(call.function.arguments) } }
  })
  return { ...message, tool_calls: calls }
}

/**
 * Arguments as the data that templates print: a text of JSON becomes what it describes, numbers marked for the template. What
 * the model itself wrote need not be JSON; it is then quoted as text.
 */
export function argumentData(given: unknown): unknown {
  if (typeof given !== "string") return markNumbers(given)
  try {
    return dataWithMarkedNumbers(given)
  } catch {
    return given
  }
}
