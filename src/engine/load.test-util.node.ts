/** @file Loading model folders in tests. */
import { join } from "node:path"
import { loadModel } from "./load.node.ts"
import type { LoadOptions } from "./messages.ts"

type Stage = (stage: string, fraction: number) => void
/** Loads a folder for tests: small, on one thread, with its bundles beside it. */
export const load = (
  model: string,
  options: Partial<LoadOptions> = {},
  onStage: Stage = () => {},
  signal?: AbortSignal,
) =>
  loadModel(
    { model, device: "cpu", quantize: "auto", threads: 1, cacheFolder: join(model, "cache"), ...options },
    onStage,
    signal ?? new AbortController().signal,
  )

/** The text of a short answer. */
export async function answer(model: string, options: Partial<LoadOptions> = {}): Promise<string> {
  await using loaded = await load(model, options)
  let text = ""
  const request = { messages: [{ role: "user" as const, content: "hello" }], maxNewTokens: 8, seed: 3 }
  for await (const event of loaded.chat(request)) if (event?.type === "text-delta") text += event.text
  return text
}
