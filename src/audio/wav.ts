/**
 * @file WAV files held in memory: RIFF and RF64, integer, float and G.711 data, plain or WAVE_FORMAT_EXTENSIBLE.
 * Sizes in the file are claims, never trusted: memory use is bounded by the bytes that are really there.
 * Not here: compressed formats (ADPCM, MP3 in WAV), big-endian RIFX, reading while the file still arrives.
 */
import { InputError } from "../util/index.ts"
import { checkPcm, decodePcm, encodePcm, mixToMono, PCM_SAMPLE_BYTES, type PcmEncoding } from "./pcm.ts"

/** A decoded WAV file. */
export type WavAudio = {
  readonly sampleRateHz: number
  readonly channels: number
  readonly encoding: PcmEncoding
  /** Interleaved samples, full scale ±1 for integer formats.  // [frames × channels] */
  readonly samples: Float32Array
  /** The file promises more data than it has. */
  readonly truncated: boolean
}

type WavFormat = { sampleRateHz: number; channels: number; encoding: PcmEncoding; frameBytes: number }
type Chunk = { id: string; start: number; claimedBytes: number }

const MAX_CHANNELS = 64
const MAX_CHUNKS = 4096 // a file of empty chunks must not keep us busy
const MAX_RATE_HZ = 768_000
// Programs that write to a pipe cannot know the length: they leave 0, all ones, or something just under 2^31.
const UNKNOWN_LENGTH_FROM = 0x7ffff000
// The fixed end of the sub-format GUIDs in WAVE_FORMAT_EXTENSIBLE; the first two bytes are an ordinary format tag.
const SUBFORMAT_TAIL = "00 00 00 00 10 00 80 00 00 aa 00 38 9b 71"

/** A-law and mu-law: a byte for each sample, whatever the header says of bits. */
const G711_TAGS: ReadonlySet<number> = new Set([6, 7])
const COMMON_CHUNKS: ReadonlySet<string> = new Set(["data", "fmt ", "fact", "LIST", "cue ", "smpl", "bext", "JUNK"])

/** Where the samples of a WAV file lie, and how long they last. */
export type WavLayout = {
  readonly format: WavFormat
  readonly start: number
  readonly sizeBytes: number
  readonly seconds: number
  readonly truncated: boolean
}

/**
 * Reads a WAV file.
 * @returns all whole frames that are present; fewer than promised sets `truncated`
 * @throws InputError when it is no WAV file, its header is cut off, or its format is not supported
 */
export function readWav(bytes: Uint8Array, where = "wav"): WavAudio {
  const { format, start, sizeBytes, truncated } = measureWav(bytes, where)
  const { sampleRateHz, channels, encoding } = format
  const samples = decodePcm(bytes.subarray(start, start + sizeBytes), encoding)
  return { sampleRateHz, channels, encoding, samples, truncated }
}

/** What {@link readWav} would read, from the headers alone; throws as it does. */
export function measureWav(bytes: Uint8Array, where = "wav"): WavLayout {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 12) throw new InputError(`${where}: expected a 12-byte RIFF header, got ${bytes.length} bytes`)
  const magic = fourCc(view, 0)
  if ((magic !== "RIFF" && magic !== "RF64" && magic !== "BW64") || fourCc(view, 8) !== "WAVE") {
    throw new InputError(`${where}: expected a RIFF or RF64 WAVE file, got other data (decode or convert it first)`)
  }
  let format: WavFormat | undefined
  let longDataBytes: number | undefined
  for (const chunk of chunks(view, 12)) {
    const available = bytes.length - chunk.start
    if (chunk.id === "ds64" && available >= 16) longDataBytes = Number(view.getBigUint64(chunk.start + 8, true))
    if (chunk.id === "fmt ") format = readFormat(view, chunk, where)
    if (chunk.id !== "data") continue
    if (!format) throw new InputError(`${where}: expected a "fmt " chunk before "data", got none (damaged header)`)
    const claimed = chunk.claimedBytes === 0xffffffff ? (longDataBytes ?? 0xffffffff) : chunk.claimedBytes
    const unknown =
      claimed === 0
        ? !chunksReachEnd(view, chunk.start)
        : claimed >= UNKNOWN_LENGTH_FROM && claimed > available && !longDataBytes
    const present = unknown ? available : Math.min(claimed, available)
    const whole = present - (present % format.frameBytes)
    return {
      format,
      start: chunk.start,
      sizeBytes: whole,
      seconds: whole / format.frameBytes / format.sampleRateHz,
      truncated: !unknown && claimed > available,
    }
  }
  throw new InputError(`${where}: expected a "data" chunk, got the end of the file (the header is cut off or damaged)`)
}

/**
 * Reads a WAV file as checked mono samples at the file's own rate.
 * @throws InputError as {@link readWav}, and when the file holds no samples or non-finite ones
 */
export function readWavMono(
  bytes: Uint8Array,
  where = "wav",
): { pcm: Float32Array; sampleRateHz: number; truncated: boolean } {
  const { samples, channels, sampleRateHz, truncated } = readWav(bytes, where)
  const pcm = mixToMono(samples, channels)
  checkPcm(pcm, where)
  return { pcm, sampleRateHz, truncated }
}

/** What a WAV header says. */
export type WavHeaderOptions = {
  readonly sampleRateHz: number
  readonly channels?: number
  /** Default `s16`. */
  readonly encoding?: "s16" | "f32"
  /** Bytes of sample data that follow; leave it out when streaming, the header then says "unknown". */
  readonly dataBytes?: number
}

/**
 * The header alone, for writers that stream: send it, then `encodePcm` of each piece.
 * @throws InputError when rate, channel count or size cannot be written
 */
export function wavHeader(options: WavHeaderOptions): Uint8Array<ArrayBuffer> {
  const { sampleRateHz, channels = 1, encoding = "s16", dataBytes } = options
  checkRange("wav: sample rate", sampleRateHz, MAX_RATE_HZ)
  checkRange("wav: channels", channels, MAX_CHANNELS)
  const float = encoding === "f32"
  const headerBytes = float ? 58 : 44
  if (dataBytes !== undefined && dataBytes > 0xfffffffe - headerBytes) {
    throw new InputError(`wav: expected less than 4 GiB of samples, got ${dataBytes} bytes (write several files)`)
  }
  const frameBytes = channels * PCM_SAMPLE_BYTES[encoding]
  const header = new Uint8Array(headerBytes)
  const view = new DataView(header.buffer)
  const id = (offset: number, text: string) =>
    header.set(
      [...text].map((char) => char.charCodeAt(0)),
      offset,
    )
  id(0, "RIFF")
  view.setUint32(4, dataBytes === undefined ? 0xffffffff : headerBytes - 8 + dataBytes, true)
  id(8, "WAVEfmt ")
  view.setUint32(16, float ? 18 : 16, true) // float formats carry an (empty) extension field
  view.setUint16(20, float ? 3 : 1, true)
  view.setUint16(22, channels, true)
  view.setUint32(24, sampleRateHz, true)
  view.setUint32(28, sampleRateHz * frameBytes, true)
  view.setUint16(32, frameBytes, true)
  view.setUint16(34, 8 * PCM_SAMPLE_BYTES[encoding], true)
  if (float) {
    id(38, "fact")
    view.setUint32(42, 4, true)
    view.setUint32(46, dataBytes === undefined ? 0xffffffff : Math.floor(dataBytes / frameBytes), true)
  }
  id(headerBytes - 8, "data")
  view.setUint32(headerBytes - 4, dataBytes ?? 0xffffffff, true)
  return header
}

/**
 * Writes interleaved float samples as a WAV file (16-bit unless `encoding` says `f32`).
 * @throws InputError when the samples do not divide into channels, or as {@link wavHeader}
 */
export function writeWav(samples: Float32Array, options: Omit<WavHeaderOptions, "dataBytes">): Uint8Array<ArrayBuffer> {
  const channels = options.channels ?? 1
  if (samples.length % channels !== 0) {
    throw new InputError(`wav: expected a multiple of ${channels} interleaved samples, got ${samples.length}`)
  }
  const data = encodePcm(samples, options.encoding ?? "s16")
  const header = wavHeader({ ...options, dataBytes: data.length })
  const file = new Uint8Array(header.length + data.length)
  file.set(header)
  file.set(data, header.length)
  return file
}

function* chunks(view: DataView, start: number): Generator<Chunk> {
  let offset = start
  for (let count = 0; offset + 8 <= view.byteLength && count < MAX_CHUNKS; count++) {
    const claimedBytes = view.getUint32(offset + 4, true)
    yield { id: fourCc(view, offset), start: offset + 8, claimedBytes }
    offset += 8 + claimedBytes
    // Chunks start at even offsets, but some writers forget the byte in between.
    if (claimedBytes % 2 === 1 && !(offset + 4 <= view.byteLength && COMMON_CHUNKS.has(fourCc(view, offset)))) offset++
  }
}

/** Is what follows a data chunk of size 0 a clean list of chunks (an empty file), or samples of unknown length? */
function chunksReachEnd(view: DataView, start: number): boolean {
  let end = start
  for (const chunk of chunks(view, start)) {
    if (!/^[ -~]{4}$/.test(chunk.id)) return false
    end = chunk.start + chunk.claimedBytes
  }
  return end === view.byteLength || end + 1 === view.byteLength
}

function readFormat(view: DataView, chunk: Chunk, where: string): WavFormat {
  const present = Math.min(chunk.claimedBytes, view.byteLength - chunk.start)
  if (present < 16) {
    throw new InputError(
      `${where}: expected a "fmt " chunk of at least 16 bytes, got ${present} (the header is cut off)`,
    )
  }
  const channels = view.getUint16(chunk.start + 2, true)
  const sampleRateHz = view.getUint32(chunk.start + 4, true)
  checkRange(`${where}: channels`, channels, MAX_CHANNELS)
  checkRange(`${where}: sample rate`, sampleRateHz, MAX_RATE_HZ)
  const { tag, sampleBytes } = readCodec(view, chunk, where)
  const encoding = encodingOf(tag, sampleBytes)
  if (!encoding) {
    throw new InputError(
      `${where}: expected PCM, float, A-law or mu-law samples, got format 0x${tag.toString(16)} with ${sampleBytes} bytes ` +
        "per sample (convert the file to 16-bit PCM)",
    )
  }
  return { sampleRateHz, channels, encoding, frameBytes: channels * sampleBytes }
}

/** The format tag and the bytes of a sample, of a "fmt " chunk that is whole. */
function readCodec(view: DataView, chunk: Chunk, where: string): { tag: number; sampleBytes: number } {
  let tag = view.getUint16(chunk.start, true)
  if (tag === 0xfffe) {
    const present = Math.min(chunk.claimedBytes, view.byteLength - chunk.start)
    if (present < 40) {
      throw new InputError(`${where}: expected an extensible "fmt " chunk of 40 bytes, got ${present} (cut off)`)
    }
    const tail = Array.from({ length: 14 }, (_, i) => view.getUint8(chunk.start + 26 + i))
    const known = tail.map((byte) => byte.toString(16).padStart(2, "0")).join(" ") === SUBFORMAT_TAIL
    tag = known ? view.getUint16(chunk.start + 24, true) : 0xfffe
  }
  const channels = view.getUint16(chunk.start + 2, true)
  const blockAlign = view.getUint16(chunk.start + 12, true)
  const bits = view.getUint16(chunk.start + 14, true)
  const container = blockAlign / channels
  // 24 bits and fewer may lie in 4 bytes, in the high ones; otherwise the bits are believed, as other readers do.
  const isWide = tag === 1 && container === 4 && bits > 16
  const sampleBytes = G711_TAGS.has(tag) ? 1 : isWide || bits === 0 ? container : Math.ceil(bits / 8)
  return { tag, sampleBytes }
}

/** The tag of the format that a WAV file is in, where it is none that is read here; undefined also when it does not say. */
export function foreignWavFormat(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (const chunk of chunks(view, 12)) {
    if (chunk.id !== "fmt ") continue
    const present = Math.min(chunk.claimedBytes, view.byteLength - chunk.start)
    if (present < (present >= 2 && view.getUint16(chunk.start, true) === 0xfffe ? 40 : 16)) return undefined
    const { tag } = readCodec(view, chunk, "wav")
    return tag === 1 || tag === 3 || G711_TAGS.has(tag) ? undefined : tag
  }
  return undefined
}

function encodingOf(tag: number, sampleBytes: number): PcmEncoding | undefined {
  if (tag === 1) return ([undefined, "u8", "s16", "s24", "s32"] as const)[sampleBytes]
  if (tag === 3) return sampleBytes === 4 ? "f32" : sampleBytes === 8 ? "f64" : undefined
  if (tag === 6) return "alaw"
  if (tag === 7) return "mulaw"
  return undefined
}

function checkRange(what: string, value: number, max: number): void {
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new InputError(`${what}: expected 1 to ${max}, got ${value}`)
  }
}

function fourCc(view: DataView, offset: number): string {
  return String.fromCharCode(...Array.from({ length: 4 }, (_, i) => view.getUint8(offset + i)))
}
