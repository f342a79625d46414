/**
 * @file Constrained decoding: which tokens may come next so that an answer keeps to its format. XGrammar (WebAssembly) does
 * the work; here are the grammars, the vocabulary it needs, and a small store of compiled ones.
 */
import type { CompiledGrammar, GrammarCompiler, TokenizerInfo } from "@mlc-ai/web-xgrammar"
import type { OmniTokenizer } from "../tokenizer/index.ts"
import { InputError } from "../util/index.ts"
import { JsonGrammar, literal, type SchemaMode } from "./json-grammar.ts"
import { TOOL_CALL_CLOSE, TOOL_CALL_OPEN } from "./tool-calls.ts"

export type Xgrammar = typeof import("@mlc-ai/web-xgrammar")

/** What an answer must look like; `tool-call` asks for a call of one of the tools, or of the named one. */
export type ConstraintFormat =
  | { readonly type: "text" }
  | { readonly type: "json-object" }
  | { readonly type: "json-schema"; readonly schema: object }
  | { readonly type: "tool-call"; readonly name?: string }

/** A function that may be called; `parameters` is a JSON Schema, kept as far as a grammar can. */
export type ConstraintTool = { readonly name: string; readonly parameters?: object }

/** One answer's constraint. A sampler asks before each token and tells the token. */
export type TokenConstraint = {
  /** Bit `id & 31` of word `id >> 5` says whether the token may come next; terminators where the answer may end. */
  allowed(): Promise<Int32Array>
  /** @throws Error when the token was not allowed */
  accept(id: number): void
  [Symbol.dispose](): void
}

/** Calls in one answer. */
const MAX_CALLS = 8
const STORED = 16

/** The grammar of an answer; undefined when anything goes. @throws InputError for a schema or tool that cannot be kept */
export function answerGrammar(format: ConstraintFormat, tools: readonly ConstraintTool[] = []): string | undefined {
  const grammar = new JsonGrammar()
  switch (format.type) {
    case "json-object":
      return grammar.print(grammar.add({ type: "object" }, "strict", "response_format"))
    case "json-schema":
      return grammar.print(grammar.add(format.schema, "strict", "response_format"))
    case "tool-call": {
      const { name } = format
      const chosen = name === undefined ? tools : tools.filter((tool) => tool.name === name)
      if (chosen.length === 0) throw new InputError("tool_choice: expected one of the tools, got another name")
      const call = `call ::= ${literal(TOOL_CALL_OPEN)} ${callRest(grammar, chosen)}`
      const calls = name === undefined ? `call ("\\n" call){0,${MAX_CALLS - 1}}` : "call"
      return `${grammar.print(calls)}${call}\n`
    }
    case "text": {
      if (tools.length === 0) return undefined
      const rest = callRest(grammar, tools)
      return `${grammar.print(`TagDispatch((${literal(TOOL_CALL_OPEN)}, after))`)}after ::= ${rest}\n`
    }
  }
}

/** Throws what {@link answerGrammar} throws for a schema alone: for borders that refuse early. */
export function checkSchema(schema: unknown, mode: SchemaMode, where: string): void {
  new JsonGrammar().add(schema, mode, where)
}

/** What follows the opening tag. */
function callRest(grammar: JsonGrammar, tools: readonly ConstraintTool[]): string {
  const bodies = tools.map(({ name, parameters }, i) => {
    const value = grammar.add(parameters ?? { type: "object" }, "loose", `tools[${i}].parameters`)
    return `${literal(`${JSON.stringify(name)}, "arguments": `)} ${value}`
  })
  return `"\\n{\\"name\\": " (${bodies.join(" | ")}) ${literal(`}\n${TOOL_CALL_CLOSE}`)}`
}

/** Makes constraints for one tokenizer. Lives as long as the model; compiled grammars are kept for the next answer. */
export class Constraints {
  readonly #xgrammar: Xgrammar
  readonly #info: TokenizerInfo
  readonly #compiler: GrammarCompiler
  readonly #stored = new Map<string, CompiledGrammar>()

  private constructor(xgrammar: Xgrammar, info: TokenizerInfo, compiler: GrammarCompiler) {
    this.#xgrammar = xgrammar
    this.#info = info
    this.#compiler = compiler
  }

  /**
   * @param vocabSize ids that logits have, those without a token included
   * @param terminators ids that end an answer
   */
  static async create(
    xgrammar: Xgrammar,
    tokenizer: OmniTokenizer,
    vocabSize: number,
    terminators: readonly number[],
  ): Promise<Constraints> {
    // Special strings and ids without a token are no text: an empty name keeps them out of every mask.
    const names = Array.from({ length: vocabSize }, (_, id) =>
      tokenizer.isSpecial(id) ? "" : (tokenizer.tokenOf(id) ?? ""),
    )
    const info = await xgrammar.TokenizerInfo.createTokenizerInfo(names, "byte_level", false, vocabSize, [
      ...terminators,
    ])
    return new Constraints(xgrammar, info, await xgrammar.GrammarCompiler.createGrammarCompiler(info, false))
  }

  /** @throws InputError for a schema or tool that cannot be kept */
  async constraint(
    format: ConstraintFormat,
    tools: readonly ConstraintTool[] = [],
  ): Promise<TokenConstraint | undefined> {
    const grammar = answerGrammar(format, tools)
    if (grammar === undefined) return undefined
    const compiled = this.#stored.get(grammar) ?? (await this.#compiler.compileGrammar(grammar))
    this.#store(grammar, compiled)
    // The matcher shares ownership of what it was made from: forgetting a stored grammar leaves it whole.
    const matcher = await this.#xgrammar.GrammarMatcher.createGrammarMatcher(compiled)
    return {
      allowed: () => matcher.getNextTokenBitmask(),
      accept(id) {
        if (!matcher.acceptToken(id)) throw new Error(`internal: constraint: token ${id} was not allowed`)
      },
      [Symbol.dispose]: () => matcher.dispose(),
    }
  }

  [Symbol.dispose](): void {
    for (const compiled of this.#stored.values()) compiled.dispose()
    this.#stored.clear()
    this.#compiler.dispose()
    this.#info.dispose()
  }

  #store(grammar: string, compiled: CompiledGrammar): void {
    this.#stored.delete(grammar)
    this.#stored.set(grammar, compiled)
    const oldest = this.#stored.size > STORED ? this.#stored.entries().next().value : undefined
    if (!oldest) return
    this.#stored.delete(oldest[0])
    oldest[1].dispose()
  }
}
