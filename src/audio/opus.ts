/**
 * @file Ogg Opus: the head of a stream, and its packets through libopus as WebAssembly. Source: RFC 7845.
 */
import type { OpusDecoder } from "opus-decoder"
import { InputError } from "../util/index.ts"
import { lastGranule, oggPackets } from "./ogg.ts"

export const OPUS_RATE_HZ = 48_000

/** Packets of one channel that are decoded at a time: each is up to 120 ms. */
const PACKETS_PER_PIECE = 50
/** Bytes of one channel's packet, by which the decoder's memory is measured. */
const MOST_PACKET_BYTES = 3840
/** A file with more damaged packets is not read on: the decoder prints a line about each. */
const MOST_DAMAGED = 1000
/** Two of the longest packets. */
const MOST_PADDING = 2 * 5760

/** What the head of a stream says. */
type OpusHead = {
  readonly channels: number
  /** Samples before the sound, which the encoder made. */
  readonly preSkip: number
  /** Factor of the samples. */
  readonly gain: number
  readonly streamCount: number
  readonly coupledStreamCount: number
  readonly channelMappingTable: number[]
}

/** Samples at 48 kHz that a stream claims to have; undefined when it does not say, or is none. */
export function opusSamples(link: Uint8Array): number | undefined {
  const [head] = oggPackets(link)
  const end = lastGranule(link)
  if (end === undefined || head === undefined || head.length < 19) return undefined
  return Math.max(0, end - preSkipOf(head))
}

/** One delivery of {@link decodeOpus}. */
export type OpusPiece = {
  readonly channelData: readonly Float32Array[] // each [N]
  readonly sampleRate: number
  readonly errors: readonly unknown[]
}

/**
 * The sound of one stream in pieces.
 * @param source names the file in errors
 * @throws InputError for a head that no decoder takes
 */
export async function* decodeOpus(link: Uint8Array, source: string): AsyncGenerator<OpusPiece> {
  const packets = oggPackets(link)
  const head = readHead(packets.next().value ?? undefined, source)
  packets.next() // tags, however long
  const decoder = new (await import("opus-decoder")).OpusDecoder({ ...head })
  await decoder.ready
  try {
    yield* withoutPadding(piecesOf(decoder, packets, head), opusSamples(link))
  } finally {
    decoder.free()
  }
}

function* piecesOf(
  decoder: OpusDecoder,
  packets: Iterator<Uint8Array, void>,
  { channels, gain }: OpusHead,
): Generator<OpusPiece> {
  const most = Math.ceil(PACKETS_PER_PIECE / channels)
  let damaged = 0
  for (let done = false; !done; ) {
    const batch: Uint8Array[] = []
    const errors: unknown[] = []
    while (batch.length + errors.length < most && !done) {
      const next = packets.next()
      if (next.done) done = true
      else if (next.value.length === 0)
        errors.push("empty") // the decoder would make 120 ms of nothing
      else if (next.value.length > MOST_PACKET_BYTES * channels) errors.push("too large")
      else batch.push(next.value)
    }
    const decoded = decoder.decodeFrames(batch)
    const channelData = decoded.channelData.map((channel) =>
      gain === 1 ? channel : channel.map((sample) => sample * gain),
    )
    errors.push(...decoded.errors)
    yield { channelData, sampleRate: OPUS_RATE_HZ, errors }
    damaged += errors.length
    if (damaged > MOST_DAMAGED) return
  }
}

/**
 * Encoders fill the last packets up, and claim less than they hold; who claims much less is not believed. The last pieces are
 * held back until it is known that they are the last.
 */
function* withoutPadding(pieces: Iterable<OpusPiece>, claimed = 0): Generator<OpusPiece> {
  const held: OpusPiece[] = []
  let samples = 0
  let heldSamples = 0
  for (const piece of pieces) {
    held.push(piece)
    samples += lengthOf(piece)
    heldSamples += lengthOf(piece)
    while (heldSamples - lengthOf(held[0]!) >= MOST_PADDING) {
      heldSamples -= lengthOf(held[0]!)
      yield held.shift()!
    }
  }
  const padding = samples - claimed
  let left = claimed > 0 && padding > 0 && padding <= MOST_PADDING ? heldSamples - padding : heldSamples
  for (const piece of held) {
    yield { ...piece, channelData: piece.channelData.map((channel) => channel.subarray(0, Math.max(0, left))) }
    left -= lengthOf(piece)
  }
}

const lengthOf = ({ channelData }: OpusPiece): number => channelData[0]?.length ?? 0

const preSkipOf = (head: Uint8Array): number => head[10]! | (head[11]! << 8)

function readHead(head: Uint8Array | undefined, source: string): OpusHead {
  const fail = (got: string) =>
    new InputError(`${source}: expected an Opus head that says how channels are coded, got ${got} (save it anew)`)
  if (!head || head.length < 19) throw fail("one that is cut short")
  const [channels, family] = [head[9]!, head[18]!]
  const gain = 10 ** ((((head[16]! | (head[17]! << 8)) << 16) >> 16) / (20 * 256))
  const preSkip = preSkipOf(head)
  if (family === 0) {
    if (channels !== 1 && channels !== 2) throw fail(`${channels} channels without a mapping`)
    const mapping = channels === 1 ? [0] : [0, 1]
    const streams = { streamCount: 1, coupledStreamCount: channels - 1, channelMappingTable: mapping }
    return { channels, preSkip, gain, ...streams }
  }
  const [streamCount = 0, coupledStreamCount = 0] = head.subarray(19)
  const channelMappingTable = [...head.subarray(21, 21 + channels)]
  const decoded = streamCount + coupledStreamCount
  const isMapped = channelMappingTable.every((channel) => channel < decoded || channel === 255)
  if (channels === 0 || streamCount === 0 || coupledStreamCount > streamCount || decoded > 255)
    throw fail(`${channels} channels of ${streamCount} streams`)
  if (channelMappingTable.length < channels || !isMapped) throw fail("a mapping of channels that do not exist")
  return { channels, preSkip, gain, streamCount, coupledStreamCount, channelMappingTable }
}
