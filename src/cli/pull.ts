/** @file `omni pull org/name`: downloads a model, or the rest of it. */
import { setGlobalProxyFromEnv } from "node:http"
import { defineCommand } from "citty"
import { pullModel } from "../hub/index.node.ts"
import type { PullProgress } from "../hub/index.ts"
import { hubSettings } from "../omni.models.node.ts"
import { durationText, sizeText } from "../util/index.ts"
import { listFlag, OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { createOutput } from "./output.ts"

const FLAGS = {
  model: { type: "positional", description: "name of the model, such as openbmb/MiniCPM-o-2_6", required: true },
  revision: { type: "string", description: "branch, tag or commit; main when absent", valueHint: "REV" },
  dir: { type: "string", description: "a plain folder instead of the shared cache", valueHint: "DIR" },
  include: { type: "string", description: "only these files instead of what the model needs", valueHint: "GLOB,…" },
  exclude: { type: "string", description: "leave these files out", valueHint: "GLOB,…" },
  ...OUTPUT_FLAGS,
} as const

/** Undefined when the flag was not given. */
function patterns(flag: string, rawArgs: readonly string[]): string[] | undefined {
  const given = listFlag(flag, rawArgs)
  return given.length === 0 ? undefined : given
}

/** Node.js takes proxies from the environment only when asked to. */
function useProxies(environment: NodeJS.ProcessEnv): void {
  const named = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"].some((name) => environment[name])
  if (named) setGlobalProxyFromEnv(environment)
}

export const pull = defineCommand({
  meta: { name: "pull", description: "download a model" },
  args: FLAGS,
  async run({ args, rawArgs }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    if (args.model === "nano") {
      output.record({ type: "pulled", repo: "nano", files: 0, sizeBytes: 0, downloadedBytes: 0 })
      output.note("nano comes with the program: there is nothing to pull")
      return
    }
    const settings = await hubSettings(process.env)
    useProxies(process.env)
    await interruptible(async (signal) => {
      try {
        const result = await pullModel({
          ...settings,
          model: args.model,
          revision: args.revision,
          directory: args.dir,
          include: patterns("include", rawArgs),
          exclude: patterns("exclude", rawArgs),
          signal,
          onProgress: (progress) => output.progress(stage(progress), fraction(progress), progress),
          onNote: (line) => {
            output.done()
            output.note(line)
          },
        })
        output.done()
        output.record({ type: "pulled", ...result })
        output.note(
          `${result.files} files, ${sizeText(result.sizeBytes)}, ${sizeText(result.downloadedBytes)} downloaded`,
        )
        output.text(`${result.directory}\n`)
      } finally {
        output.done()
      }
    })
  },
})

function fraction({ doneBytes, totalBytes }: PullProgress): number {
  return totalBytes === 0 ? 1 : doneBytes / totalBytes
}

function stage({ doneFiles, files, doneBytes, totalBytes, bytesPerSecond, remainingMs }: PullProgress): string {
  const left = remainingMs === undefined ? "" : `, ${durationText(remainingMs)} left`
  const rate = bytesPerSecond > 0 ? `, ${sizeText(bytesPerSecond)}/s` : ""
  return `${doneFiles} of ${files} files, ${sizeText(doneBytes)} of ${sizeText(totalBytes)}${rate}${left}`
}
