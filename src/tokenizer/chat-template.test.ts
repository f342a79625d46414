import { describe, expect, test } from "vitest"
import { buildTokenizer, MIN_VOCAB_SIZE } from "./build.ts"
import type { TemplateMessage } from "./chat-template.ts"
import { AUDIO_MARKER, joinContent, loadChatTemplate, ttsChatTemplate } from "./chat-template.ts"
import { readTokenizer } from "./files.ts"
import { checkpointFiles, fixtureJson } from "./fixtures.test-util.ts"
import type { PromptLanguage, SystemPromptMode } from "./system-prompts.ts"
import { systemPromptItems } from "./system-prompts.ts"
import type { TokenizerConfig } from "./tokenizer-json.ts"

type Prompt = {
  name: string
  messages?: { role: TemplateMessage["role"]; content: string | unknown[] }[]
  conversation?: TemplateMessage[]
  tools?: unknown[]
  params?: { use_tts_template?: boolean; omni_input?: boolean; max_inp_length?: number }
  prompts: string[]
  input_ids: number[][]
}

const { tokenizer, tokenizerConfig } = await readTokenizer(checkpointFiles())
const built = buildTokenizer({ vocabSize: MIN_VOCAB_SIZE, texts: [] })
const ours = JSON.parse(built.files["tokenizer_config.json"]) as TokenizerConfig
const prompts = fixtureJson<Prompt[]>("cases/prompts.json")
const textOnly = prompts.filter(
  ({ messages, conversation }) =>
    conversation !== undefined ||
    messages!.every(({ content }) => typeof content === "string" || content?.every((item) => typeof item === "string")),
)

const templates = {
  "the checkpoint's": loadChatTemplate(tokenizerConfig),
  "that of a new model": loadChatTemplate(ours),
  "the stock one": loadChatTemplate(),
}

describe.each(Object.entries(templates))("%s template", (_, defaultTemplate) => {
  test.each(textOnly)(
    "prompt $name",
    ({ messages, conversation, tools, params, prompts: [prompt], input_ids: [ids] }) => {
      const filled =
        conversation ??
        messages!.map(({ role, content }) => ({
          role,
          content: typeof content === "string" ? content : joinContent(content as string[], params?.omni_input),
        }))
      const template = params?.use_tts_template === true ? ttsChatTemplate : defaultTemplate
      const text = template(filled, tools === undefined ? {} : { tools })
      expect(text).toBe(prompt)
      expect(tokenizer.encode(text).slice(0, params?.max_inp_length)).toEqual(ids)
    },
  )

  test("a system message, tools, and text beside a call", () => {
    const call = { type: "function", function: { name: "f", arguments: { a: [1, 0.5, null, true], b: 'é"' } } }
    const messages: TemplateMessage[] = [
      { role: "system", content: "Be brief." },
      { role: "assistant", content: "Let me see.", tool_calls: [call, call] },
      { role: "tool", content: "1" },
    ]
    const text = defaultTemplate(messages, { tools: [{ x: {} }], addGenerationPrompt: false })
    const json = '{"name": "f", "arguments": {"a": [1, 0.5, null, true], "b": "é\\""}}'
    expect(text.startsWith("<|im_start|>system\nBe brief.\n\n# Tools\n\nYou may call")).toBe(true)
    expect(text).toContain('<tools>\n{"x": {}}\n</tools>')
    expect(text).toContain(
      `<|im_start|>assistant\nLet me see.\n<tool_call>\n${json}\n</tool_call>\n<tool_call>\n${json}\n</tool_call><|im_end|>\n` +
        "<|im_start|>user\n<tool_response>\n1\n</tool_response><|im_end|>\n",
    )
    expect(text.endsWith("<|im_end|>\n")).toBe(true)
  })

  test("arguments as JSON text, a call without text, a later system message", () => {
    const arguments_ = (value: unknown): TemplateMessage[] => [
      { role: "user", content: "x" },
      { role: "assistant", content: null, tool_calls: [{ function: { name: "f", arguments: value } }] },
      { role: "system", content: "later" },
    ]
    const text = defaultTemplate(arguments_({ city: "北京" }))
    expect(defaultTemplate(arguments_('{"city":"北京"}'))).toBe(text)
    expect(text).toContain(
      '<|im_start|>assistant\n<tool_call>\n{"name": "f", "arguments": {"city": "北京"}}\n</tool_call><|im_end|>\n',
    )
    expect(text).toContain("<|im_start|>system\nlater<|im_end|>\n")
    expect(defaultTemplate(arguments_("not JSON"))).toContain('"arguments": "not JSON"}')
  })
})

describe("system prompts", () => {
  const recorded = prompts.filter(({ name }) => name.startsWith("sys_"))

  test.each(recorded)("$name", ({ name, messages }) => {
    const [, mode, language, reference] = /^sys_(\w+)_(en|zh)_(ref|noref)$/.exec(name)!
    const items = systemPromptItems(mode as SystemPromptMode, language as PromptLanguage, {
      referenceVoice: reference === "ref",
    })
    const wanted = (messages![0]!.content as unknown[]).map((item) => (typeof item === "string" ? item : AUDIO_MARKER))
    expect(items).toEqual(wanted)
  })

  test("any other mode is the default one", () => {
    const other = systemPromptItems("novel" as SystemPromptMode, "zh", { referenceVoice: true })
    expect(other).toEqual(systemPromptItems("default", "en", { referenceVoice: false }))
  })

  test("no voice to clone", () => {
    expect(() => systemPromptItems("voice_cloning", "en", { referenceVoice: false })).toThrow(
      "system prompt voice_cloning: expected a reference voice, got none",
    )
  })
})

describe("template sources", () => {
  const hello: TemplateMessage[] = [{ role: "user", content: "hi" }]

  test("a list of named templates", () => {
    const template = loadChatTemplate({
      chat_template: [
        { name: "rag", template: "no" },
        { name: "default", template: "{{ messages[0].content }}{{ eos_token }}" },
      ],
      eos_token: "<|im_end|>",
    })
    expect(template(hello)).toBe("hi<|im_end|>")
  })

  test("one that is not Jinja, or cannot be rendered", () => {
    expect(() => loadChatTemplate({ chat_template: "{% if %}" })).toThrow(
      "tokenizer_config.json: expected a Jinja chat_template, got",
    )
    const picky = loadChatTemplate({ chat_template: "{{ raise_exception('only tools') }}" })
    expect(() => picky(hello)).toThrow(
      "chat template: expected messages it can render, got only tools (roles were user)",
    )
  })
})
