/** @file Cases `prompts` and `inputs_embeds_*`: conversations to prompts, and prompts to merged embeddings. */
import { readJsonObject, readText } from "../../src/checkpoint/index.ts"
import { parseImageConfig, processImages } from "../../src/image/index.ts"
import {
  type ChatPromptOptions,
  type ContentItem,
  chatPrompt,
  type EmbedParts,
  embedPrompt,
  type LanguageModel,
  type Message,
  type Prompt,
  type PromptParts,
  padPrompts,
  type Span,
  stripsOf,
  systemMessage,
} from "../../src/inference/index.ts"
import { parseAudioConfig } from "../../src/models/minicpmo/index.ts"
import type { Executor } from "../../src/runtime/index.ts"
import { f32, type HostTensor } from "../../src/tensor/index.ts"
import { loadChatTemplate, readTokenizer } from "../../src/tokenizer/index.ts"
import { runSteps } from "../../src/util/index.ts"
import { loadAudioEncoder, loadMel, readAudio } from "./audio.ts"
import { type GoldenSet, readArrays } from "./golden-set.ts"
import { loadLanguageModel } from "./language-model.ts"
import type { CaseReport } from "./report.ts"
import type { CaseRunner } from "./runner.ts"
import { loadVision, readImage } from "./vision.ts"

/** A content item of a case: media by the names of their files. */
type GoldenItem =
  | string
  | { readonly image: string }
  | { readonly frame: number }
  | { readonly audio: string; readonly start?: number; readonly stop?: number }
export type GoldenMessage = Omit<Message, "content"> & { readonly content: string | readonly GoldenItem[] }

/** The settings of a case, under the official names; null like absent. */
export type GoldenSettings = {
  readonly use_tts_template?: boolean | null
  readonly omni_input?: boolean | null
  readonly max_slice_nums?: number | null
  readonly use_image_id?: boolean | null
  readonly chunk_input?: boolean | null
  readonly max_inp_length?: number | null
}

/** What prompts of a set are made with. */
export async function loadPromptParts(set: GoldenSet): Promise<PromptParts> {
  const { tokenizer, tokenizerConfig } = await readTokenizer({
    readText: (path) => readText(set.checkpointFolder, path),
  })
  const { poolStep } = parseAudioConfig(await readJsonObject(set.checkpointFolder, "config.json"))
  return {
    tokenizer,
    template: loadChatTemplate(tokenizerConfig),
    image: parseImageConfig(await readJsonObject(set.checkpointFolder, "preprocessor_config.json")),
    audio: { mel: (await loadMel(set)).config, poolStep },
  }
}

/** All models that a prompt of a set needs, on a device. */
export async function loadEmbedParts(
  set: GoldenSet,
  executor: Executor,
): Promise<EmbedParts & { readonly model: LanguageModel }> {
  return {
    model: await loadLanguageModel(set, executor),
    vision: await loadVision(set, executor, "batches"),
    audio: { encoder: await loadAudioEncoder(set, executor), mel: await loadMel(set) },
  }
}

/** A case's message with the contents of its files. */
export async function readMessage(set: GoldenSet, message: GoldenMessage): Promise<Message> {
  const { content } = message
  if (typeof content === "string") return { ...message, content }
  return { ...message, content: await Promise.all(content.map((item) => readItem(set, item))) }
}

async function readItem(set: GoldenSet, item: GoldenItem): Promise<ContentItem> {
  if (typeof item === "string") return item
  if ("image" in item) return { image: await readImage(set, `assets/images/${item.image}.png`) }
  if ("frame" in item) return { image: await readImage(set, `assets/images/frame_${item.frame}.png`) }
  return { audio: (await readAudio(set, item.audio)).subarray(item.start ?? 0, item.stop) }
}

export function promptOptions(settings: GoldenSettings): ChatPromptOptions {
  const { use_tts_template, omni_input, max_slice_nums, use_image_id, chunk_input, max_inp_length } = settings
  return {
    ...(use_tts_template == null ? {} : { useTtsTemplate: use_tts_template }),
    ...(omni_input == null ? {} : { omniInput: omni_input }),
    ...(max_slice_nums == null ? {} : { maxSliceNums: max_slice_nums }),
    ...(use_image_id == null ? {} : { useImageId: use_image_id }),
    ...(chunk_input == null ? {} : { chunkInput: chunk_input }),
    ...(max_inp_length == null ? {} : { maxInputLength: max_inp_length }),
  }
}

type PromptRow = {
  readonly name: string
  readonly messages?: readonly GoldenMessage[] | readonly (readonly GoldenMessage[])[]
  readonly conversation?: readonly Message[]
  readonly tools?: readonly unknown[]
  readonly params?: GoldenSettings
  readonly prompts: readonly string[]
  readonly input_ids: readonly number[][]
  readonly attention_mask?: readonly number[][]
  readonly image_bound?: readonly Span[][]
  readonly audio_bounds?: readonly Span[][]
  readonly spk_bounds?: readonly Span[][]
  readonly tgt_sizes?: readonly number[][][]
  readonly audio_feature_lens?: readonly number[][]
}

const isBatch = (messages: PromptRow["messages"]): messages is readonly (readonly GoldenMessage[])[] =>
  Array.isArray(messages?.[0])

/** Builds every conversation of a row. */
async function promptsOf(set: GoldenSet, parts: PromptParts, row: PromptRow): Promise<Prompt[]> {
  const options = { ...promptOptions(row.params ?? {}), ...(row.tools ? { tools: row.tools } : {}) }
  if (row.conversation) return [chatPrompt(parts, row.conversation, options)]
  const conversations = isBatch(row.messages) ? row.messages : [row.messages as readonly GoldenMessage[]]
  return await Promise.all(
    conversations.map(async (messages) =>
      chatPrompt(parts, await Promise.all(messages.map((message) => readMessage(set, message))), options),
    ),
  )
}

const prompts: CaseRunner = async ({ set, golden }, report) => {
  const parts = await loadPromptParts(set)
  const front = await loadMel(set)
  for (const row of JSON.parse(await readText(set.folder, golden.data!)) as PromptRow[]) {
    const made = await promptsOf(set, parts, row)
    const batch = padPrompts(made)
    const field = (what: string, got: unknown, want: unknown) => {
      if (want !== undefined) report.equal(`${what} of ${row.name}`, got, want)
    }
    const length = batch.prompts[0]!.ids.length
    field(
      "text",
      made.map(({ text }) => text),
      row.prompts,
    )
    field(
      "ids",
      batch.prompts.map(({ ids }) => ids),
      row.input_ids,
    )
    const mask = made.map((_, i) => [...batch.valid.subarray(i * length, (i + 1) * length)])
    field("mask", mask, row.attention_mask)
    const spans = (key: "imageSpans" | "audioSpans" | "speakerSpans") => batch.prompts.map((prompt) => prompt[key])
    field("image spans", spans("imageSpans"), row.image_bound)
    field("audio spans", spans("audioSpans"), row.audio_bounds)
    field("speaker spans", spans("speakerSpans"), row.spk_bounds)
    const grids = made.map(({ images, maxSliceNums }) =>
      stripsOf(processImages(images, parts.image, { maxSliceNums })).map(({ grid }) => [grid.rows, grid.cols]),
    )
    field("patch grids", grids, row.tgt_sizes)
    const lengths = made.map(({ clips, clipMessages }) =>
      Array.from(front.extractBatch(clips, clipMessages, parts.audio.poolStep).featureLens.data, Number),
    )
    field("mel lengths", lengths, row.audio_feature_lens)
    await compareSystemPrompt(set, row, report)
  }
}

/** Rows named after a system prompt start with it. */
async function compareSystemPrompt(set: GoldenSet, { name, messages }: PromptRow, report: CaseReport): Promise<void> {
  const [, mode, language, voice] = /^sys_(.+)_(en|zh)_(ref|noref)$/.exec(name) ?? []
  if (!mode || isBatch(messages)) return
  const want = await readMessage(set, messages![0]!)
  const clip = Array.isArray(want.content)
    ? want.content.find((item: ContentItem) => typeof item === "object")
    : undefined
  const reference = voice === "ref" && clip && "audio" in clip ? clip.audio : undefined
  type Arguments = Parameters<typeof systemMessage>
  report.equal(name, systemMessage(mode as Arguments[0], language as Arguments[1], reference), want)
}

const inputsEmbeds: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const messages = await Promise.all(
    (golden.params.messages as GoldenMessage[]).map((message) => readMessage(set, message)),
  )
  const prompt = chatPrompt(await loadPromptParts(set), messages, promptOptions(golden.params))
  const list = (value: HostTensor | undefined) => Array.from((value?.data ?? []) as ArrayLike<bigint>, Number)
  report.equal("ids", prompt.ids, list(inputs.input_ids))
  report.equal("image spans", prompt.imageSpans.flat(), list(inputs.image_bound))
  report.equal("audio spans", prompt.audioSpans.flat(), list(inputs.audio_bounds))
  const embeds = await runSteps(embedPrompt(await loadEmbedParts(set, executor), prompt))
  report.equal("shape", embeds.shape.slice(1), outputs.inputs_embeds!.shape)
  report.close("inputs_embeds", f32(embeds.shape.slice(1), embeds.data), outputs.inputs_embeds!)
}

export const promptCases = {
  prompts,
  inputs_embeds_image_audio: inputsEmbeds,
  inputs_embeds_omni_units: inputsEmbeds,
  inputs_embeds_audio_merge: inputsEmbeds,
}
