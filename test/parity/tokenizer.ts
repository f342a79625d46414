/** @file Cases `tokenizer` and `tts_tokenizer`: ids, texts, special strings, the fixed-length speech prompt. */
import { readJsonObject, readText } from "../../src/checkpoint/index.ts"
import { readTokenizer, readTtsTokenizer, ttsPrompt, ttsPromptLayout } from "../../src/tokenizer/index.ts"
import type { GoldenSet } from "./golden-set.ts"
import type { CaseRunner } from "./runner.ts"

type TokenizerData = {
  readonly rows: readonly { text: string; ids: number[]; decoded: string; decoded_skip_special: string }[]
  readonly partial_decode: readonly { ids: number[]; decoded: string }[]
  readonly special_ids: { readonly [name: string]: number }
  readonly vocab_size: number
}

type TtsData = {
  readonly rows: readonly { text: string; ids: number[]; decoded: string }[]
  readonly prepared: readonly {
    text: string
    num_text_tokens: number
    ids: number[]
    mask_ones: number[]
    mask_len: number
  }[]
  readonly start_ids: readonly number[]
  readonly num_text_tokens: number
}

function textFiles(set: GoldenSet) {
  return { readText: (path: string) => readText(set.checkpointFolder, path) }
}

const tokenizer: CaseRunner = async ({ set, golden }, report) => {
  const data = (await readJsonObject(set.folder, golden.data!)) as unknown as TokenizerData
  const { tokenizer } = await readTokenizer(textFiles(set))
  for (const row of data.rows) {
    const name = JSON.stringify(row.text)
    report.equal(`ids of ${name}`, tokenizer.encode(row.text), row.ids)
    report.equal(`text of ${name}`, tokenizer.decode(row.ids), row.decoded)
    report.equal(
      `plain text of ${name}`,
      tokenizer.decode(row.ids, { skipSpecialTokens: true }),
      row.decoded_skip_special,
    )
  }
  for (const { ids, decoded } of data.partial_decode) report.equal(`text of ${ids}`, tokenizer.decode(ids), decoded)
  report.equal("special ids", Object.fromEntries(tokenizer.addedTokens), data.special_ids)
  report.equal("size", tokenizer.size, data.vocab_size)
}

const ttsTokenizer: CaseRunner = async ({ set, golden }, report) => {
  const data = (await readJsonObject(set.folder, golden.data!)) as unknown as TtsData
  const config = await readJsonObject(set.checkpointFolder, "config.json")
  const tokenizer = await readTtsTokenizer(textFiles(set))
  const layout = ttsPromptLayout(tokenizer, config.tts_config as { [key: string]: number })
  for (const row of data.rows) {
    const name = JSON.stringify(row.text)
    report.equal(`ids of ${name}`, tokenizer.encode(row.text), row.ids)
    report.equal(`text of ${name}`, tokenizer.decode(row.ids), row.decoded)
  }
  for (const row of data.prepared) {
    const { ids, textTokens, mask } = ttsPrompt(tokenizer, layout, row.text)
    report.equal(`prompt of ${JSON.stringify(row.text)}`, ids, row.ids)
    report.equal("text tokens", textTokens, row.num_text_tokens)
    report.equal("mask length", mask.length, row.mask_len)
    report.equal(
      "mask",
      [...mask.keys()].filter((i) => mask[i]),
      row.mask_ones,
    )
  }
  report.equal("start ids", layout.startIds, data.start_ids)
  report.equal("size", tokenizer.size, data.num_text_tokens)
}

export const tokenizerCases = { tokenizer, tts_tokenizer: ttsTokenizer }
