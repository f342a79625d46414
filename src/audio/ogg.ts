/**
 * @file The Ogg container: pages, the streams that follow each other in a file (chains, as radio recordings have them), and the
 * packets of one. Checksums are not looked at: what is damaged, decoders tell.
 */
import { concatenate } from "../util/index.ts"

/** One page. Views of the file. */
export type OggPage = {
  readonly begin: number
  readonly end: number
  readonly isFirst: boolean
  readonly isLast: boolean
  /** Samples up to the last packet that ends here; negative when none does. */
  readonly granule: bigint
  /** Sizes of the parts of packets; one below 255 ends a packet. */
  readonly lacing: Uint8Array
  readonly body: Uint8Array
}

const HEADER_BYTES = 27
const CONTINUES = 255

/** Whole pages in order, and what there is of the last one; bytes between them are passed over. */
export function* oggPages(bytes: Uint8Array): Generator<OggPage, void, void> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let begin = nextPage(bytes, 0); begin !== undefined; ) {
    const bodyAt = begin + HEADER_BYTES + bytes[begin + HEADER_BYTES - 1]!
    const lacing = bytes.subarray(begin + HEADER_BYTES, bodyAt)
    const end = Math.min(
      bytes.length,
      lacing.reduce((sum, size) => sum + size, bodyAt),
    )
    const flags = bytes[begin + 5]!
    const granule = view.getBigInt64(begin + 6, true)
    const body = bytes.subarray(bodyAt, end)
    yield { begin, end, isFirst: (flags & 2) !== 0, isLast: (flags & 4) !== 0, granule, lacing, body }
    begin = nextPage(bytes, end)
  }
}

/** Offset of the first page from `at` on that has a whole header. */
function nextPage(bytes: Uint8Array, at: number): number | undefined {
  const last = bytes.length - HEADER_BYTES
  for (let from = at; from <= last; from++) {
    // Each byte costs the same, whatever stands between pages: OggS.
    if (bytes[from + 3] !== 0x53 || bytes[from] !== 0x4f) continue
    if (bytes[from + 1] === 0x67 && bytes[from + 2] === 0x67) return from
  }
  return undefined
}

/** A file of heads alone would ask for streams without end. */
export const MOST_LINKS = 1000

/** The streams of a chain, each with its headers: views of the file. One more than {@link MOST_LINKS} holds all the rest. */
export function oggLinks(bytes: Uint8Array): Uint8Array[] {
  const starts: number[] = []
  let afterFirst = false
  for (const { begin, isFirst } of oggPages(bytes)) {
    if (starts.length > MOST_LINKS) break
    if (starts.length === 0 || (isFirst && !afterFirst)) starts.push(begin)
    afterFirst = isFirst
  }
  return starts.map((start, i) => bytes.subarray(start, starts[i + 1] ?? bytes.length))
}

/** The packets of a stream; one that the file ends in is left out. */
export function* oggPackets(link: Uint8Array): Generator<Uint8Array, void, void> {
  let begun: Uint8Array[] = []
  for (const { lacing, body } of oggPages(link)) {
    let at = 0
    let start = 0
    for (const size of lacing) {
      at += size
      if (size === CONTINUES) continue
      if (at > body.length) return
      const rest = body.subarray(start, at)
      yield begun.length === 0 ? rest : concatenate([...begun, rest])
      begun = []
      start = at
    }
    if (start < at) begun.push(body.subarray(start, at))
  }
}

/** False when the last stream ends before its last page does, or that page is not marked as the last. */
export function reachesOggEnd(bytes: Uint8Array): boolean {
  let last: OggPage | undefined
  for (const page of oggPages(bytes)) last = page
  return last?.isLast === true && last.body.length === last.lacing.reduce((sum, size) => sum + size, 0)
}

/** The position that a stream's last page claims to end at; undefined when no page does. */
export function lastGranule(link: Uint8Array): number | undefined {
  let last: bigint | undefined
  for (const { granule } of oggPages(link)) if (granule >= 0n) last = granule
  return last === undefined ? undefined : Number(last)
}
