/**
 * @file Tools and their calls in prompts. What they say comes from outside, so special strings in it must not act, while those
 * that the checkpoint's template writes around it do.
 */
import { argumentData, IM_END, isMarkedNumber } from "../tokenizer/index.ts"
import { ConfigError } from "../util/index.ts"
import type { ContentItem, PromptParts } from "./prompt-content.ts"

/** All texts in plain data, names of members included. */
export function textsIn(value: unknown): string[] {
  const texts: string[] = []
  mapTexts(value, (text) => {
    texts.push(text)
    return text
  })
  return texts
}

/** Members of the structure around tools and calls: templates look for them by name. */
const STRUCTURE = new Set(["type", "function", "name", "description", "parameters", "arguments"])

/** The same data with other texts; numbers, also marked ones, are none. */
export function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return isMarkedNumber(value) ? value : change(value)
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [STRUCTURE.has(key) ? key : change(key), mapTexts(item, change)]),
  )
}

type Call = { readonly type?: string; readonly function: { readonly name: string; readonly arguments: unknown } }

/** Calls with their arguments as the data that the template prints. */
export function parseArguments(calls: readonly Call[]): Call[] {
  return calls.map((call) => {
    const { name, arguments: given } = call.function
    return { ...call, function: { name, arguments: argumentData(given) } }
  })
}

const CONTENT = "the content"
const MARKS = ["@@the first tool@@", "@@the second tool@@"] as const

/**
 * What the checkpoint's template adds to a system message for tools, as items behind that message's own.
 * @throws ConfigError when the template takes no notice of tools
 */
export function toolItems(
  { template }: Pick<PromptParts, "template">,
  tools: readonly { readonly name: string }[],
): ContentItem[] {
  if (tools.length === 0) return []
  const render = (given: readonly unknown[]) => {
    const text = template([{ role: "system", content: CONTENT }], { tools: given, addGenerationPrompt: false })
    const [, after = ""] = text.split(CONTENT)
    return after.slice(0, Math.max(0, after.lastIndexOf(IM_END)))
  }
  const [before, rest] = render(MARKS).split(JSON.stringify(MARKS[0]))
  const [between, after] = rest?.split(JSON.stringify(MARKS[1])) ?? []
  if (before === undefined || between === undefined || after === undefined) {
    throw new ConfigError(
      "chat template: expected one that writes tools, got one that does not (take the model's own tokenizer_config.json)",
    )
  }
  const items: ContentItem[] = [before]
  for (const [i, tool] of tools.entries()) {
    if (i > 0) items.push(between)
    const text = render([{ type: "function", function: tool }])
    items.push({ plain: text.slice(before.length, text.length - after.length) })
  }
  return [...items, after]
}

/** A call that an answer made, as the model would have written it. */
export function callItems({ name, arguments: text }: { readonly name: string; readonly arguments: string }) {
  const call = `{"name": ${JSON.stringify(name)}, "arguments": ${text}}`
  return ["\n<tool_call>\n", { plain: call }, "\n</tool_call>"] satisfies ContentItem[]
}
