/** @file XGrammar in a browser or Web Worker, where its one script file loads as it is. */
import type { Xgrammar } from "./constraint.ts"

/** XGrammar; bundlers give its exports, a plain script leaves them on the global object. */
export async function loadXgrammar(): Promise<Xgrammar> {
  const module = (await import("@mlc-ai/web-xgrammar")) as { GrammarCompiler?: unknown; default?: unknown }
  const found = module.GrammarCompiler ? module : (module.default ?? (globalThis as { xgrammar?: Xgrammar }).xgrammar)
  if (!found) throw new Error("internal: @mlc-ai/web-xgrammar left no exports")
  return found as Xgrammar
}
