/** @file Cases `mel`, `mel_24k`, `text_helpers` and `apm_*`: front ends, the audio encoder offline and streaming. */
import {
  audioLengths,
  CODEC_MEL,
  concatPcm,
  createCodecMel,
  createWhisperMel,
  crossFade,
  denseMelFilterBank,
  type MelFilterBankOptions,
  melFilterBank,
  placeholderGroups,
  readWavMono,
  type WhisperMel,
  whisperMelConfig,
} from "../../src/audio/index.ts"
import { readJsonObject } from "../../src/checkpoint/index.ts"
import {
  AudioEncoder,
  type AudioStream,
  audioSegmentMask,
  encoderFrames,
  readAudioWeights,
} from "../../src/inference/index.ts"
import {
  audioProjectorGraph,
  chunkFrames,
  parseAudioConfig,
  whisperEncoderGraph,
} from "../../src/models/minicpmo/index.ts"
import type { Executor, Feeds } from "../../src/runtime/index.ts"
import { f32, f32Data, type HostTensor, i64, tensor } from "../../src/tensor/index.ts"
import { detectLanguage, digitsToWords, sentenceEnd } from "../../src/tokenizer/index.ts"
import { runSteps } from "../../src/util/index.ts"
import { type GoldenSet, readArrays } from "./golden-set.ts"
import type { CaseReport } from "./report.ts"
import type { CaseRunner } from "./runner.ts"

/** Of the recordings that the model hears. */
const SAMPLE_RATE_HZ = 16_000

/** Samples of a recording of the set, [N]. */
export async function readAudio(set: GoldenSet, name: string, sampleRateHz = SAMPLE_RATE_HZ): Promise<Float32Array> {
  const path = `assets/audio/${name}.wav`
  const bytes = await set.folder.read(path, 0, await set.folder.size(path))
  const { pcm, sampleRateHz: rate } = readWavMono(bytes, path)
  if (rate !== sampleRateHz) throw new Error(`${path}: expected ${sampleRateHz} Hz, got ${rate}`)
  return pcm
}

/** The log-mel front end of the set's checkpoint. */
export async function loadMel(set: GoldenSet): Promise<WhisperMel> {
  return createWhisperMel(whisperMelConfig(await readJsonObject(set.checkpointFolder, "preprocessor_config.json")))
}

/** The audio encoder of a set on a device, in exact float32. */
export async function loadAudioEncoder(set: GoldenSet, executor: Executor): Promise<AudioEncoder> {
  const config = parseAudioConfig(await readJsonObject(set.checkpointFolder, "config.json"))
  return await AudioEncoder.load({ config, executor, ...(await readAudioWeights(set.checkpoint, config)) })
}

/** Compares shape and values. */
function same(report: CaseReport, what: string, got: HostTensor, want: HostTensor): void {
  report.equal(`shape of ${what}`, got.shape, want.shape)
  report.close(what, got, want)
}

function filterBank(options: MelFilterBankOptions): HostTensor {
  const bank = melFilterBank(options)
  return f32([bank.fftBins, bank.melBins], denseMelFilterBank(bank))
}

type MelRow = {
  readonly audio: string
  readonly chunk?: number
  readonly samples: number
  readonly mel_frames: number
  readonly encoder_frames?: number
  readonly audio_tokens?: number
  readonly placeholder_chunked: string
  readonly placeholder?: string
}
type MelData = { readonly rows: readonly MelRow[]; readonly length_table: { readonly rows: readonly number[][] } }

const brackets = (groups: readonly number[]) =>
  groups.map((count) => `<|audio_start|>${"<unk>".repeat(count)}<|audio_end|>`).join("")

const mel: CaseRunner = async ({ set, golden }, report) => {
  const { outputs } = await readArrays(set, golden)
  const data = (await readJsonObject(set.folder, golden.data!)) as unknown as MelData
  const front = await loadMel(set)
  const { maxSamples, sampleRateHz, hopLength } = front.config
  const { poolStep } = parseAudioConfig(await readJsonObject(set.checkpointFolder, "config.json"))
  const secondTokens = audioLengths(sampleRateHz, poolStep, hopLength).audioTokens
  for (const row of data.rows) {
    const whole = await readAudio(set, row.audio)
    const second = row.chunk ?? 0
    const pcm = row.chunk === undefined ? whole : whole.subarray(second * sampleRateHz, (second + 1) * sampleRateHz)
    const key = row.chunk === undefined ? `mel_${row.audio}` : `stream_mel_${second}`
    const lengths = audioLengths(pcm.length, poolStep, hopLength)
    report.equal(`samples of ${key}`, pcm.length, row.samples)
    report.equal(`frames of ${key}`, lengths.melFrames, row.mel_frames)
    report.equal(
      `placeholder of ${key}`,
      brackets(placeholderGroups(lengths.audioTokens, secondTokens)),
      row.placeholder_chunked,
    )
    if (row.placeholder !== undefined) report.equal(key, brackets([lengths.audioTokens]), row.placeholder)
    if (row.encoder_frames !== undefined) report.equal(key, lengths.encoderFrames, row.encoder_frames)
    same(report, key, front.extract(pcm), outputs[key]!)
  }
  for (const [samples, ...want] of data.length_table.rows) {
    const { melFrames, encoderFrames: frames, audioTokens } = audioLengths(samples!, poolStep, hopLength)
    const groups = placeholderGroups(audioTokens, secondTokens)
    const unknowns = groups.reduce((sum, count) => sum + count, 0)
    report.equal(`lengths of ${samples}`, [melFrames, frames, audioTokens, unknowns, groups.length], want)
  }
  const { repeat, times, samples } = golden.params.long as { repeat: string; times: number; samples: number }
  const long = concatPcm(new Array<Float32Array>(times).fill(await readAudio(set, repeat))).subarray(0, samples)
  const { featureLens, segments } = front.extractBatch([long])
  report.equal("long_mel_lens", featureLens.data, outputs.long_mel_lens!.data)
  report.equal("first long segment", segments[0]!.shape[1], maxSamples / hopLength)
  same(report, "long_mel_seg1_last_valid", segments[1]!, outputs.long_mel_seg1_last_valid!)
  const { fftSize, melBins } = front.config
  same(
    report,
    "filterbank",
    filterBank({ fftSize, melBins, sampleRateHz, scale: "slaney", norm: "slaney" }),
    outputs.filterbank!,
  )
}

const mel24k: CaseRunner = async ({ set, golden }, report) => {
  const { outputs } = await readArrays(set, golden)
  const name = (golden.assets ?? ["assets/audio/speech_24k.wav"])[0]!.replace(/^.*\/|\.wav$/g, "")
  const { fftSize, melBins, sampleRateHz } = CODEC_MEL
  same(report, "mel", createCodecMel()(await readAudio(set, name, sampleRateHz)), outputs.mel!)
  same(
    report,
    "filterbank",
    filterBank({ fftSize, melBins, sampleRateHz, scale: "htk", norm: "none" }),
    outputs.filterbank!,
  )
}

type HelperData = {
  readonly numbers: readonly { text: string; lang: string; auto: string; english: string; chinese: string }[]
  readonly sentence_end: readonly { text: string; end: string }[]
}

const textHelpers: CaseRunner = async ({ set, golden }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const data = (await readJsonObject(set.folder, golden.data!)) as unknown as HelperData
  for (const { text, lang, auto, english, chinese } of data.numbers) {
    const name = JSON.stringify(text)
    report.equal(`language of ${name}`, detectLanguage(text), lang)
    report.equal(`digits of ${name}`, digitsToWords(text), auto)
    report.equal(`English digits of ${name}`, digitsToWords(text, "english"), english)
    report.equal(`Chinese digits of ${name}`, digitsToWords(text, "chinese"), chinese)
  }
  for (const { text, end } of data.sentence_end)
    report.equal(`sentence end of ${JSON.stringify(text)}`, sentenceEnd(text), end)
  for (const [i, overlap] of (golden.params.crossfade_overlap as number[]).entries()) {
    const piece = (key: string) => f32Data(inputs[`crossfade${i}_${key}`]!)
    const { out, rest } = crossFade(piece("a"), piece("b"), overlap)
    same(report, `crossfade${i}_out`, f32([out.length], out), outputs[`crossfade${i}_out`]!)
    same(report, `crossfade${i}_rest`, f32([rest.length], rest), outputs[`crossfade${i}_rest`]!)
  }
}

/** The encoder in one pass over padded segments, with its intermediate values: what training differentiates. */
async function singlePass(
  set: GoldenSet,
  executor: Executor,
  { features, melLengths, chunkSeconds }: { features: HostTensor; melLengths: readonly number[]; chunkSeconds: number },
): Promise<Feeds> {
  const config = parseAudioConfig(await readJsonObject(set.checkpointFolder, "config.json"))
  const weights = await readAudioWeights(set.checkpoint, config)
  const count = encoderFrames(features.shape[2]!)
  const encoder = await executor.compile(whisperEncoderGraph(config, { inspect: true }), weights.encoder)
  const projector = await executor.compile(audioProjectorGraph(config, { inspect: true }), weights.projector)
  const encoded = await executor.run(encoder, {
    mel: features,
    positionIds: i64([count], [...new Array(count).keys()]),
    attentionMask: audioSegmentMask(melLengths, count, chunkFrames(chunkSeconds)),
  })
  const projected = await executor.run(projector, { hidden: encoded.hidden! })
  await encoder.release()
  await projector.release()
  return { ...encoded, ...projected }
}

/** The first rows of sample b of [B, T, D]. */
function rowsOf(batch: HostTensor, b: number, rows: number): HostTensor {
  const [, steps, width] = batch.shape as [number, number, number]
  return f32([rows, width], f32Data(batch).slice(b * steps * width, (b * steps + rows) * width))
}

const twoAudios: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const chunkSeconds = golden.params.chunk_length as number
  const melLengths = Array.from(inputs.feature_lens!.data as BigInt64Array, Number)
  const features = inputs.features!
  const pass = await singlePass(set, executor, { features, melLengths, chunkSeconds })
  same(report, "encoder_hidden", pass.hidden!, outputs.encoder_hidden!)
  const encoder = await loadAudioEncoder(set, executor)
  const segments = await runSteps(encoder.encode(features, melLengths, chunkSeconds))
  for (const [b, tokens] of segments.entries()) {
    const want = outputs[`audio_embeds_${b}`]!
    same(report, `audio_embeds_${b}`, tokens, want)
    report.close(`audio_embeds_${b} in one pass`, rowsOf(pass.tokens!, b, want.shape[0]!), want)
  }
}

const singleSteps: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const features = inputs.features!
  const melLengths = [features.shape[2]!]
  const chunkSeconds = golden.params.chunk_length as number
  const pass = await singlePass(set, executor, { features, melLengths, chunkSeconds })
  const first = (value: HostTensor) => tensor("f32", value.shape.slice(1), f32Data(value))
  same(report, "conv2_before_gelu", first(pass.conv2!), outputs.conv2_before_gelu!)
  same(report, "layer0_out", first(pass["layers.0"]!), outputs.layer0_out!)
  same(report, "projected", first(pass.projected!), outputs.projected!)
  same(report, "audio_embeds", first(pass.tokens!), outputs.audio_embeds!)
  const encoder = await loadAudioEncoder(set, executor)
  const [tokens] = await runSteps(encoder.encode(features, melLengths, chunkSeconds))
  same(report, "audio_embeds in steps", tokens!, outputs.audio_embeds!)
}

/** Seconds that `apm_streaming_reset` repeats until its cache was reset. */
const REPEATED_SECONDS = 5

/** The first seconds of the recordings joined and repeated. */
async function streamSeconds(
  set: GoldenSet,
  params: { readonly [key: string]: unknown },
  count = REPEATED_SECONDS,
): Promise<Float32Array[]> {
  const { signal, tiles } = params as { signal: string[]; tiles: number }
  const once = await Promise.all(signal.map((name) => readAudio(set, name)))
  const pcm = concatPcm(Array.from({ length: tiles }, () => once).flat())
  return Array.from({ length: count }, (_, i) => pcm.subarray(i * SAMPLE_RATE_HZ, (i + 1) * SAMPLE_RATE_HZ))
}

/** Runs chunks through one stream and compares cache lengths and those tokens that have a golden. */
async function stream(
  encoder: AudioEncoder,
  chunks: readonly HostTensor[],
  cacheLengths: readonly number[],
  check: (index: number, tokens: HostTensor) => void,
  report: CaseReport,
): Promise<void> {
  let state: AudioStream = encoder.init()
  for (const [i, chunk] of chunks.entries()) {
    const [tokens, next] = await runSteps(encoder.step(state, chunk))
    state = next
    report.equal(`cache length after chunk ${i}`, state.cache.length, cacheLengths[i])
    check(i, tokens)
  }
}

const streaming: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const front = await loadMel(set)
  const seconds = await streamSeconds(set, golden.params, Object.keys(inputs).length)
  const chunks = Object.keys(inputs).map((_, i) => inputs[`features_${i}`]!)
  for (const [i, chunk] of chunks.entries()) report.close(`features_${i}`, front.extract(seconds[i]!), chunk, 1e-3)
  chunks.push(front.extract(concatPcm(seconds).subarray(0, golden.params.last_chunk_samples as number)))
  const check = (i: number, tokens: HostTensor) =>
    same(report, `chunk ${i}`, tokens, outputs[`chunk_${i}`] ?? outputs.short_chunk!)
  const lengths = golden.params.cache_lengths as number[]
  report.equal("calls", chunks.length, lengths.length)
  await stream(await loadAudioEncoder(set, executor), chunks, lengths, check, report)
}

const streamingReset: CaseRunner = async ({ set, golden, executor }, report) => {
  const { outputs } = await readArrays(set, golden)
  const front = await loadMel(set)
  const seconds = (await streamSeconds(set, golden.params)).map((pcm) => front.extract(pcm))
  const lengths = golden.params.cache_lengths as number[]
  const chunks = lengths.map((_, i) => seconds[i % seconds.length]!)
  let compared = 0
  const check = (i: number, tokens: HostTensor) => {
    const want = outputs[`chunk_${i}`]
    if (!want) return
    same(report, `chunk_${i}`, tokens, want)
    compared++
  }
  await stream(await loadAudioEncoder(set, executor), chunks, lengths, check, report)
  report.equal("compared chunks", compared, Object.keys(outputs).length)
}

export const audioCases = {
  mel,
  mel_24k: mel24k,
  text_helpers: textHelpers,
  apm_two_audios_chunk1: twoAudios,
  apm_two_audios_full: twoAudios,
  apm_single_steps: singleSteps,
  apm_streaming: streaming,
  apm_streaming_reset: streamingReset,
}
