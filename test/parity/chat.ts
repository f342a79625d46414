/** @file Cases `chat_*`: whole offline answers, greedy, with a penalty, in a batch and by beam search. */
import {
  chatPrompt,
  DEFAULT_BEAMS,
  DEFAULT_SAMPLING,
  decode,
  decodeBeams,
  embedBatch,
  embedPrompt,
  type GenerateOptions,
  generateBatch,
  type Prompt,
  padPrompts,
  speakerState,
} from "../../src/inference/index.ts"
import { f32, type HostTensor } from "../../src/tensor/index.ts"
import { answerText, type OmniTokenizer, TTS_EOS, terminatorIds } from "../../src/tokenizer/index.ts"
import { runSteps } from "../../src/util/index.ts"
import { type GoldenCase, readArrays } from "./golden-set.ts"
import { type GoldenMessage, loadEmbedParts, loadPromptParts, promptOptions, readMessage } from "./prompts.ts"
import type { CaseContext, CaseRunner } from "./runner.ts"

const list = (value: HostTensor | undefined) => Array.from((value?.data ?? []) as ArrayLike<bigint>, Number)
const vector = (data: Float32Array) => f32([data.length], data)

/** The text that `chat` returns. */
const chatText = (tokenizer: OmniTokenizer, ids: readonly number[]) =>
  answerText(tokenizer, ids).replaceAll(TTS_EOS, "")

/** The prompt of one conversation of a case, and all that answering takes. */
async function load({ set, golden, executor }: CaseContext) {
  const parts = await loadPromptParts(set)
  const models = await loadEmbedParts(set, executor)
  const { tokenizer } = parts
  const { params } = golden
  const options: GenerateOptions = {
    ...{ ...DEFAULT_SAMPLING, temperature: 0, random: () => 0 },
    maxNewTokens: params.max_new_tokens,
    minNewTokens: params.min_new_tokens ?? DEFAULT_SAMPLING.minNewTokens,
    // Cases draw nothing: what they leave out is what `sampling=False` has.
    repetitionPenalty: params.repetition_penalty ?? DEFAULT_BEAMS.repetitionPenalty,
    terminators: terminatorIds(tokenizer),
    reserved: [], // the official code lets ids without a token through
  }
  const promptOf = async (messages: readonly GoldenMessage[]) =>
    chatPrompt(parts, await Promise.all(messages.map((m) => readMessage(set, m))), promptOptions(golden.params))
  return { models, tokenizer, options, promptOf }
}

type Loaded = Awaited<ReturnType<typeof load>>

/** Greedy answers to one conversation, with the first logits and states. */
const greedy: CaseRunner = async (context, report) => {
  const { golden } = context
  const { outputs } = await readArrays(context.set, golden)
  const { models, tokenizer, options, promptOf } = await load(context)
  const prompt = await promptOf(golden.params.messages)
  const embeds = await runSteps(embedPrompt(models, prompt))
  const cache = models.model.createCache()
  const [hidden] = await runSteps(models.model.forward(cache, embeds))
  if (outputs.spk_embeds) {
    report.close("spk_embeds", await speakerState(models.model, hidden!, prompt), outputs.spk_embeds)
  }
  const ids: number[] = []
  const logits: number[] = []
  const rows = outputs.logits_first3?.shape[0] ?? 0
  for await (const step of decode(models.model, cache, hidden!, options)) {
    if (!step) continue
    if (ids.length === 0 && outputs.hidden_first) {
      report.close("hidden_first", vector(step.normed), outputs.hidden_first)
    }
    if (ids.length < rows) logits.push(...step.logits)
    ids.push(step.id)
  }
  report.equal("ids", ids, list(outputs.ids))
  report.equal("text", chatText(tokenizer, ids), golden.params.text)
  if (outputs.logits_first3) {
    report.close("logits_first3", vector(Float32Array.from(logits)), outputs.logits_first3)
  }
}

/** Answers to several conversations in one left-padded batch; by beams, where beams of one do not touch another's, each alone. */
const batch: CaseRunner = async (context, report) => {
  const { golden } = context
  const { outputs } = await readArrays(context.set, golden)
  const loaded = await load(context)
  const conversations = golden.params.messages as readonly (readonly GoldenMessage[])[]
  const all = await Promise.all(conversations.map(loaded.promptOf))
  const { num_beams: count = DEFAULT_BEAMS.beams } = golden.params
  const answers =
    count === 1 ? await greedyBatch(loaded, all) : await inTurn(all, (prompt) => byBeams(golden, loaded, prompt))
  const width = outputs.ids!.shape[1]!
  const padded = answers.flatMap((ids) => [...ids, ...new Array<number>(Math.max(0, width - ids.length)).fill(0)])
  report.equal("ids", padded, list(outputs.ids))
  report.equal(
    "texts",
    answers.map((ids) => chatText(loaded.tokenizer, ids)),
    golden.params.text,
  )
}

async function greedyBatch(
  { models, options }: Loaded,
  conversations: readonly Prompt[],
): Promise<(readonly number[])[]> {
  const { prompts, valid } = padPrompts(conversations)
  const embeds = await runSteps(embedBatch(models, prompts))
  const cache = models.model.createCache(prompts.length)
  const answers = await runSteps(generateBatch(models.model, cache, { embeds, valid }, options))
  return answers.map(({ ids }) => ids)
}

async function byBeams({ params }: GoldenCase, { models, options }: Loaded, prompt: Prompt): Promise<number[]> {
  const cache = models.model.createCache()
  const [hidden] = await runSteps(models.model.forward(cache, await runSteps(embedPrompt(models, prompt))))
  const { num_beams: beams = DEFAULT_BEAMS.beams, repetition_penalty: penalty = DEFAULT_BEAMS.repetitionPenalty } =
    params
  return await runSteps(decodeBeams(models.model, cache, hidden!, { ...options, beams, repetitionPenalty: penalty }))
}

async function inTurn<T, U>(items: readonly T[], work: (item: T) => Promise<U>): Promise<U[]> {
  const results: U[] = []
  for (const item of items) results.push(await work(item))
  return results
}

/** The default of `sampling: false`. */
const beams: CaseRunner = async (context, report) => {
  const { golden } = context
  const { outputs } = await readArrays(context.set, golden)
  const loaded = await load(context)
  const ids = await byBeams(golden, loaded, await loaded.promptOf(golden.params.messages))
  report.equal("ids", ids, list(outputs.ids))
  report.equal("text", chatText(loaded.tokenizer, ids), golden.params.text)
}

export const chatCases = {
  chat_image: greedy,
  chat_image_sliced: greedy,
  chat_audio: greedy,
  chat_two_images_history: greedy,
  chat_omni: greedy,
  chat_penalty: greedy,
  chat_batch: batch,
  chat_beam: beams,
}
