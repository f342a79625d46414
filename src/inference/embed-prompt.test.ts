/** @file Embedded prompts of a small random model; the recorded ones are in `test/parity/prompts.ts`. */
import { beforeAll, describe, expect, test } from "vitest"
import { audioLengths, createWhisperMel, WHISPER_MEL } from "../audio/index.ts"
import { type ImageConfig, parseImageConfig, type RgbImage, rgbImage } from "../image/index.ts"
import {
  parseVisionConfig,
  RESAMPLER_PREFIX,
  resamplerSpec,
  SIGLIP_PREFIX,
  siglipSpec,
} from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../runtime/index.ts"
import { f32, type HostTensor, relativeToMaxAbs } from "../tensor/index.ts"
import { checkpointFiles } from "../tokenizer/fixtures.test-util.ts"
import { loadChatTemplate, readTokenizer } from "../tokenizer/index.ts"
import { ConfigError, createRandom, InputError, runSteps } from "../util/index.ts"
import { SMALL, smallEncoder } from "./audio-encoder.test-util.ts"
import { type ClipEncoder, type EmbedParts, embedBatch, embedPiece, embedPrompt } from "./embed-prompt.ts"
import { chatPrompt, type Message, type Prompt, padPrompts } from "./prompt.ts"
import type { ContentItem, PromptParts } from "./prompt-content.ts"
import { randomWeights } from "./random-weights.test-util.ts"
import { stripsOf, VisionEncoder } from "./vision.ts"

const WIDTH = 128
const processor = {
  ...{ scale_resolution: 18, patch_size: 6, max_slice_nums: 4, slice_mode: true, use_image_id: false },
  ...{ norm_mean: [0.5, 0.5, 0.5], norm_std: [0.5, 0.5, 0.5], image_feature_size: 5 },
  ...{ im_start: "<image>", im_end: "</image>", slice_start: "<slice>", slice_end: "</slice>" },
  ...{ im_id_start: "<image_id>", im_id_end: "</image_id>", unk: "<unk>" },
}
const image: ImageConfig = parseImageConfig(processor)
const vision = parseVisionConfig({
  vision_config: {
    ...{ hidden_size: 12, intermediate_size: 20, num_hidden_layers: 1, num_attention_heads: 3 },
    ...{ image_size: 54, patch_size: 6 },
  },
  ...{
    hidden_size: WIDTH,
    query_num: 5,
    patch_size: 6,
    use_image_id: false,
    slice_mode: true,
    drop_vision_last_layer: false,
  },
  slice_config: { max_slice_nums: 4 },
})
/** Thirty seconds have 1500 positions; attention blocks of a fifth of a second. */
const hearing = { ...SMALL, tokenSize: WIDTH, maxPositions: 1500 }
const mel = createWhisperMel({ ...WHISPER_MEL, melBins: SMALL.melBins })

async function load(executor: Executor): Promise<EmbedParts & { vision: VisionEncoder }> {
  return {
    model: { embed: (ids) => f32([1, ids.length, WIDTH], Float32Array.from(ids.flatMap(rowOf))) },
    vision: await VisionEncoder.load({
      ...{ config: vision, image, executor },
      siglip: randomWeights(siglipSpec(vision.siglip), SIGLIP_PREFIX, 1),
      resampler: randomWeights(resamplerSpec(vision.resampler), RESAMPLER_PREFIX, 2),
    }),
    audio: { encoder: await smallEncoder(executor, { config: hearing }), mel },
  }
}

/** The embedding of an id: its number everywhere. */
const rowOf = (id: number): number[] => new Array<number>(WIDTH).fill(id)

const { tokenizer } = await readTokenizer(checkpointFiles())
const promptParts: PromptParts = {
  ...{ tokenizer, template: loadChatTemplate(), image },
  audio: { mel: mel.config, poolStep: hearing.poolStep },
}
const random = createRandom(5)
const picture = (width: number, height: number): RgbImage =>
  rgbImage(
    width,
    height,
    Uint8Array.from({ length: 3 * width * height }, () => 256 * random()),
  )
const sound = (samples: number) => Float32Array.from({ length: samples }, () => random() - 0.5)
const user = (...content: ContentItem[]): Message => ({ role: "user", content })
const promptOf = (...messages: Message[]): Prompt => chatPrompt(promptParts, messages)

/** Rows of positions [start, end), as a matrix. */
const rows = (embeds: HostTensor, [start, end]: readonly [number, number]) =>
  f32([end - start, WIDTH], (embeds.data as Float32Array).slice(start * WIDTH, end * WIDTH))

let parts: EmbedParts & { vision: VisionEncoder }
beforeAll(async () => {
  parts = await load(createReferenceExecutor())
})

describe("an embedded prompt", () => {
  test("has images in their order, each slice in its span, and the text around them", async () => {
    const pictures = [picture(40, 18), picture(9, 9)]
    const prompt = promptOf(user({ image: pictures[0]! }, "and"), user({ image: pictures[1]! }))
    const embeds = await runSteps(embedPrompt(parts, prompt))
    expect(embeds.shape).toEqual([1, prompt.ids.length, WIDTH])
    const strips = stripsOf(parts.vision.process(pictures))
    expect(prompt.imageSpans.length).toBe(strips.length)
    expect(strips.length).toBeGreaterThan(2)
    for (const [i, strip] of strips.entries()) {
      const alone = await runSteps(parts.vision.encode([strip]))
      expect(rows(embeds, prompt.imageSpans[i]!).data).toEqual(alone.data)
    }
    const inside = new Set(
      prompt.imageSpans.flatMap(([start, end]) => [...Array(end - start).keys()].map((k) => start + k)),
    )
    for (const [position, id] of prompt.ids.entries()) {
      if (!inside.has(position)) expect([...rows(embeds, [position, position + 1]).data]).toEqual(rowOf(id))
    }
  })

  test("is the same on the CPU", { timeout: 20_000 }, async () => {
    const prompt = promptOf(user({ image: picture(40, 18) }, { audio: sound(30_000) }), user({ audio: sound(8_000) }))
    const want = await runSteps(embedPrompt(parts, prompt))
    await using executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
    const got = await runSteps(embedPrompt(await load(executor), prompt))
    expect(relativeToMaxAbs(got, want)).toBeLessThan(1e-5)
    const [start] = prompt.audioSpans[0]!
    expect(got.data.slice(start * WIDTH, (start + 1) * WIDTH)).not.toEqual(Float32Array.from(rowOf(prompt.ids[start]!)))
  })

  test("joins the clips of a message before encoding them, and no others", async () => {
    const [first, second] = [sound(16_000), sound(16_000)]
    const joined = Float32Array.from([...first, ...second])
    const tokensOf = async (...messages: Message[]) => {
      const prompt = promptOf(...messages)
      const embeds = await runSteps(embedPrompt(parts, prompt))
      return prompt.audioSpans.map((span) => rows(embeds, span).data)
    }
    const together = await tokensOf(user({ audio: first }, "and", { audio: second }))
    expect(together).toEqual(await tokensOf(user({ audio: joined })))
    const apart = await tokensOf(user({ audio: first }), user({ audio: second }))
    expect(apart[1]).toEqual((await tokensOf(user({ audio: second })))[0])
    expect(apart[1]).not.toEqual(together[1])
  })

  test("has a token for every placeholder where joined clips would be too short", async () => {
    const clips = [sound(15_841), sound(15_841), sound(15_841)]
    // The first one has no token at all, hence no placeholder; it is left out.
    const prompt = promptOf(user({ audio: sound(100) }, ...clips.map((audio) => ({ audio }))))
    expect(prompt.audioSpans).toEqual([expect.anything(), expect.anything(), expect.anything()])
    const embeds = await runSteps(embedPrompt(parts, prompt))
    // Each but the last clip is padded to whole tokens of 640 samples.
    const padded = Float32Array.from({ length: 2 * 16_000 + 15_841 }, (_, i) =>
      i % 16_000 < 15_841 ? clips[Math.floor(i / 16_000)]![i % 16_000]! : 0,
    )
    const want = promptOf(user({ audio: padded }))
    const wanted = await runSteps(embedPrompt(parts, want))
    const tokens = (made: Prompt, all: HostTensor) => made.audioSpans.flatMap((span) => [...rows(all, span).data])
    expect(tokens(prompt, embeds)).toEqual(tokens(want, wanted))
  })

  test("that was cut needs only what is left", async () => {
    const pictures = [picture(9, 9), picture(9, 9)]
    const messages = [user({ image: pictures[0]! }, "and", { image: pictures[1]! })]
    const whole = promptOf(...messages)
    const maxInputLength = whole.imageSpans[0]![1] + 2
    const cut = chatPrompt(promptParts, messages, { maxInputLength })
    const embeds = await runSteps(embedPrompt(parts, cut))
    const wanted = await runSteps(embedPrompt(parts, whole))
    expect(embeds.data).toEqual(wanted.data.slice(0, maxInputLength * WIDTH))
    const mute = chatPrompt(promptParts, [user("a", { audio: sound(9_000) })], { maxInputLength: 4 })
    expect((await runSteps(embedPrompt(parts, mute))).shape).toEqual([1, 4, WIDTH])
  })

  test("leaves out what follows thirty seconds and is too short for a token", async () => {
    const prompt = promptOf(user({ audio: new Float32Array(480_300) }))
    const seen: number[] = []
    const encoder: ClipEncoder = {
      ...{ config: hearing, init: () => parts.audio!.encoder.init() },
      step: (...call) => parts.audio!.encoder.step(...call),
      async *encode(_, lengths) {
        yield
        seen.push(...lengths)
        return lengths.map((frames) => {
          const { audioTokens } = audioLengths(frames, hearing.poolStep, 1)
          return f32([audioTokens, WIDTH], new Float32Array(audioTokens * WIDTH))
        })
      },
    }
    await runSteps(embedPrompt({ ...parts, audio: { encoder, mel } }, prompt))
    expect(seen).toEqual([3000])
  })

  test("of sound too short for a single token is refused", async () => {
    const refused = runSteps(embedPrompt(parts, promptOf(user("a", { audio: sound(320) }))))
    await expect(refused).rejects.toThrow(InputError)
    await expect(refused).rejects.toThrow("audio: expected at least 321 samples, got 320 (too short to encode)")
  })

  test("needs the encoders of what it holds", async () => {
    const { model } = parts
    expect((await runSteps(embedPrompt({ model }, promptOf(user("a"))))).shape[2]).toBe(WIDTH)
    const seen = runSteps(embedPrompt({ model }, promptOf(user({ image: picture(9, 9) }))))
    await expect(seen).rejects.toThrow(ConfigError)
    await expect(seen).rejects.toThrow("image: expected a model that sees, got one without a vision tower")
    const heard = runSteps(embedPrompt({ model }, promptOf(user({ audio: sound(9_000) }))))
    await expect(heard).rejects.toThrow("audio: expected a model that hears, got one without an audio encoder")
  })
})

describe("embedded prompts of a batch", () => {
  test("hear sound that is padded to the longest of all, as in the official code", async () => {
    // 110 mel frames, 55 of the encoder, end within a block of ten, so the last block sees padding.
    const [short, long] = [sound(17_600), sound(40_000)]
    const made = [promptOf(user({ audio: short })), promptOf(user("a")), promptOf(user({ audio: long }))]
    const { prompts } = padPrompts(made)
    const embeds = await runSteps(embedBatch(parts, prompts))
    const length = prompts[0]!.ids.length
    expect(embeds.shape).toEqual([3, length, WIDTH])
    const heard = (b: number) =>
      prompts[b]!.audioSpans.flatMap(([start, end]) => [
        ...rows(embeds, [b * length + start, b * length + end]).data.slice(),
      ])
    const { features, featureLens } = mel.extractBatch([short, long], [0, 1])
    const [first, second] = await runSteps(
      parts.audio!.encoder.encode(features, Array.from(featureLens.data as BigInt64Array, Number)),
    )
    expect(heard(0)).toEqual([...first!.data])
    expect(heard(1)).toEqual([])
    expect(heard(2)).toEqual([...second!.data])
    const alone = await runSteps(embedPrompt(parts, made[0]!))
    expect(heard(0)).not.toEqual(made[0]!.audioSpans.flatMap((span) => [...rows(alone, span).data]))
  })
})

describe("pieces of a live conversation", () => {
  const clip = sound(16_000)
  const piece = () => promptOf(user({ image: picture(9, 9) }, { audio: clip }))

  test("go on hearing where the last one ended", async () => {
    const [first, second] = [piece(), piece()]
    const [, heard] = await runSteps(embedPiece(parts, first, undefined))
    expect(heard!.cache.length).toBe(50)
    const encoder = parts.audio!.encoder
    const [, stream] = await runSteps(encoder.step(encoder.init(), mel.extract(clip)))
    const [tokens] = await runSteps(encoder.step(stream, mel.extract(clip)))
    const [embeds, next] = await runSteps(embedPiece(parts, second, heard))
    expect(next!.cache.length).toBe(100)
    expect(rows(embeds, second.audioSpans[0]!).data).toEqual(tokens.data)
  })

  test("without sound leave the stream alone", async () => {
    const [embeds, next] = await runSteps(embedPiece(parts, promptOf(user("a")), undefined))
    expect([embeds.shape[2], next]).toEqual([WIDTH, undefined])
    const stream = parts.audio!.encoder.init()
    expect((await runSteps(embedPiece(parts, promptOf(user({ image: picture(9, 9) })), stream)))[1]).toBe(stream)
  })

  test("that are abandoned leave the stream as it was", async () => {
    const [, stream] = await runSteps(embedPiece(parts, piece(), undefined))
    const steps = embedPiece(parts, piece(), stream)
    let count = 0
    while (!(await steps.next()).done) count++
    expect(count).toBeGreaterThan(3)
    const [, again] = await runSteps(embedPiece(parts, piece(), undefined))
    for (let stop = 1; stop <= count; stop++) {
      const abandoned = embedPiece(parts, piece(), again)
      for (let i = 0; i < stop; i++) await abandoned.next()
      await abandoned.return([f32([1, 0, WIDTH], []), undefined])
      expect(again!.cache.length).toBe(50)
    }
  })

  test("have one clip at most", async () => {
    const two = promptOf(user({ audio: clip }, { audio: clip }))
    const refused = runSteps(embedPiece(parts, two, undefined))
    await expect(refused).rejects.toThrow(InputError)
    await expect(refused).rejects.toThrow("audio: expected one clip in a piece of a live conversation, got 2")
  })
})
