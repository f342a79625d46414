/** @file Runs golden cases on one device: known ones are compared, unknown ones fail. */
import type { Executor } from "../../src/runtime/index.ts"
import { errorText } from "../../src/util/index.ts"
import { audioCases } from "./audio.ts"
import { chatCases } from "./chat.ts"
import { type GoldenCase, type GoldenSet, openGoldenSet } from "./golden-set.ts"
import { languageModelCases } from "./language-model.ts"
import { promptCases } from "./prompts.ts"
import { CaseReport } from "./report.ts"
import { speechCases } from "./speech.ts"
import { streamingCases } from "./streaming.ts"
import { tokenizerCases } from "./tokenizer.ts"
import { visionCases } from "./vision.ts"

/** What a case gets to work with. */
export type CaseContext = { readonly set: GoldenSet; readonly golden: GoldenCase; readonly executor: Executor }
/** Runs one case and records its comparisons. */
export type CaseRunner = (context: CaseContext, report: CaseReport) => Promise<void>

/** Runners by the names of the first set; {@link runnerOf} knows others by what the case is. */
const RUNNERS: { readonly [name: string]: CaseRunner } = {
  ...tokenizerCases,
  ...languageModelCases,
  ...speechCases,
  ...audioCases,
  ...visionCases,
  ...promptCases,
  ...chatCases,
  ...streamingCases,
}

/** Families whose names tell settings: what a case has in it says how it runs. */
const FAMILIES: { readonly [prefix: string]: (golden: GoldenCase) => CaseRunner | undefined } = {
  apm_two_audios: () => audioCases.apm_two_audios_full,
  inputs_embeds: () => promptCases.inputs_embeds_image_audio,
  speech_stream: () => speechCases.speech_stream,
  streaming: () => streamingCases.streaming_omni,
  vision: ({ inputs, outputs }) => {
    if (inputs.pixel_values) return visionCases.vision_small
    return outputs.resampled && outputs.tgt_sizes ? visionCases.vision_images : undefined
  },
  chat: ({ params, outputs }) => {
    if (Array.isArray(params.messages?.[0])) return chatCases.chat_batch
    const beams = params.num_beams ?? (outputs.logits_first3 ? 1 : undefined)
    return beams === 1 ? chatCases.chat_image : chatCases.chat_beam
  },
}

/** How a case runs: by its family, then by its name, then by the longest known name that its name goes on from. */
export function runnerOf(golden: GoldenCase): CaseRunner | undefined {
  const { name } = golden
  const goesOn = (start: string) => name === start || name.startsWith(`${start}_`)
  for (const [prefix, choose] of Object.entries(FAMILIES)) {
    const run = goesOn(prefix) ? choose(golden) : undefined
    if (run) return run
  }
  const [known] = Object.keys(RUNNERS)
    .filter(goesOn)
    .sort((a, b) => b.length - a.length)
  return known === undefined ? undefined : RUNNERS[known]
}

export type CaseResult = {
  readonly name: string
  readonly ok: boolean
  readonly error: number
  readonly failures: readonly string[]
  readonly milliseconds: number
}

/** Case names as patterns: `*` stands for anything. */
export function matcher(patterns: readonly string[]): (name: string) => boolean {
  const expressions = patterns.map(
    (pattern) =>
      new RegExp(
        `^${pattern
          .split("*")
          .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
          .join(".*")}$`,
      ),
  )
  return (name) => expressions.some((expression) => expression.test(name))
}

/** Runs the selected cases of a set in order; yields each result as it is known. */
export async function* runCases(
  directory: string,
  executor: Executor,
  selected: (name: string) => boolean,
): AsyncGenerator<CaseResult> {
  await using set = await openGoldenSet(directory)
  for (const golden of set.cases) {
    if (!selected(golden.name)) continue
    const report = new CaseReport(golden)
    const start = performance.now()
    const run = runnerOf(golden)
    try {
      if (run) await run({ set, golden, executor }, report)
      else report.failures.push(`no such case is known here; known are ${Object.keys(RUNNERS).join(", ")}`)
      if (run && report.comparisons === 0) report.failures.push("nothing was compared")
    } catch (error) {
      report.failures.push(`stopped: ${errorText(error)}`)
    }
    const milliseconds = performance.now() - start
    yield {
      name: golden.name,
      ok: report.failures.length === 0,
      error: report.error,
      failures: report.failures,
      milliseconds,
    }
  }
}
