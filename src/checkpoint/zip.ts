/**
 * @file The table of contents of a ZIP archive, read by ranges: stored entries only, ZIP64 included. PyTorch never
 * compresses, and stored entries can be read in place. Sizes come from the central directory, so local data descriptors
 * do not matter. Source: APPNOTE.TXT 6.3.
 */
import { failure, quote } from "./fail.ts"
import type { FileSource } from "./source.ts"

/** Bytes of one stored entry within the archive. */
export type ZipEntry = { readonly start: number; readonly sizeBytes: number }

const END = { signature: 0x06054b50, bytes: 22 }
const END64_LOCATOR = { signature: 0x07064b50, bytes: 20 }
const END64 = { signature: 0x06064b50, bytes: 56 }
const CENTRAL = { signature: 0x02014b50, bytes: 46 }
const LOCAL = { signature: 0x04034b50, bytes: 30 }
const MAX_COMMENT_BYTES = 0xffff
const MAX_DIRECTORY_BYTES = 16 * 2 ** 20
/** Each entry costs a read when the archive is opened. */
const MAX_ENTRIES = 20_000
const FULL16 = 0xffff
const FULL32 = 0xffffffff
const ZIP64_FIELD = 1

type Directory = { readonly start: number; readonly sizeBytes: number; readonly count: number }
type CentralEntry = { readonly name: string; readonly headerStart: number; readonly sizeBytes: number }

/** All entries by name. @throws CheckpointError when the archive is damaged, compressed, encrypted or split */
export async function readZip(source: FileSource, path: string): Promise<Map<string, ZipEntry>> {
  const directory = await findDirectory(source, path)
  const bytes = await source.read(path, directory.start, directory.sizeBytes)
  const central = parseDirectory(path, bytes, directory.count)
  const entries = new Map<string, ZipEntry>()
  for (const entry of central) {
    if (entries.has(entry.name)) throw failure(path, "unique names in the archive", `${quote(entry.name)} twice`)
    entries.set(entry.name, await locate(source, path, entry, directory.start))
  }
  return entries
}

async function findDirectory(source: FileSource, path: string): Promise<Directory> {
  const fileBytes = await source.size(path)
  const tailBytes = Math.min(fileBytes, END.bytes + MAX_COMMENT_BYTES)
  const tailStart = fileBytes - tailBytes
  const tail = viewOf(await source.read(path, tailStart, tailBytes))
  let at = tailBytes - END.bytes
  while (at >= 0 && !(tail.getUint32(at, true) === END.signature && fits(tail, at))) at--
  if (at < 0) {
    const advice = "incomplete, or saved by PyTorch before 1.6: download it again, or save it with a newer version"
    throw failure(path, "a ZIP archive", "no end record", advice)
  }
  const count = tail.getUint16(at + 10, true)
  const sizeBytes = tail.getUint32(at + 12, true)
  const start = tail.getUint32(at + 16, true)
  if (tail.getUint16(at + 4, true) !== 0) throw failure(path, "an archive in one file", "one of several parts")
  const small = count !== FULL16 && sizeBytes !== FULL32 && start !== FULL32
  const end = tailStart + at
  const directory = small ? { start, sizeBytes, count } : await readEnd64(source, path, end)
  if (directory.start + directory.sizeBytes > end) {
    throw failure(path, `a directory before byte ${end}`, `${directory.sizeBytes} bytes at ${directory.start}`)
  }
  if (directory.sizeBytes > MAX_DIRECTORY_BYTES || directory.count > MAX_ENTRIES) {
    const got = `${directory.count} entries in ${directory.sizeBytes} bytes`
    throw failure(path, `at most ${MAX_ENTRIES} entries in a directory of ${MAX_DIRECTORY_BYTES} bytes`, got)
  }
  return directory
}

/** Whether the end record at `at`, with its comment, ends with the file. */
function fits(tail: DataView, at: number): boolean {
  return at + END.bytes + tail.getUint16(at + 20, true) === tail.byteLength
}

async function readEnd64(source: FileSource, path: string, end: number): Promise<Directory> {
  const none = (): Error => failure(path, "a ZIP64 end record", "none")
  if (end < END64_LOCATOR.bytes) throw none()
  const locator = viewOf(await source.read(path, end - END64_LOCATOR.bytes, END64_LOCATOR.bytes))
  if (locator.getUint32(0, true) !== END64_LOCATOR.signature) throw none()
  const start = bigAt(path, locator, 8)
  if (start + END64.bytes > end) throw none()
  const record = viewOf(await source.read(path, start, END64.bytes))
  if (record.getUint32(0, true) !== END64.signature) throw none()
  return { count: bigAt(path, record, 32), sizeBytes: bigAt(path, record, 40), start: bigAt(path, record, 48) }
}

function parseDirectory(path: string, bytes: Uint8Array, count: number): CentralEntry[] {
  const view = viewOf(bytes)
  const entries: CentralEntry[] = []
  let at = 0
  for (let index = 0; index < count; index++) {
    if (at + CENTRAL.bytes > bytes.length || view.getUint32(at, true) !== CENTRAL.signature) {
      throw failure(path, `${count} entries in the directory`, `${index}`)
    }
    const nameEnd = at + CENTRAL.bytes + view.getUint16(at + 28, true)
    const extraEnd = nameEnd + view.getUint16(at + 30, true)
    if (extraEnd > bytes.length) throw failure(path, "a whole directory entry", "a part of one")
    const name = new TextDecoder().decode(bytes.subarray(at + CENTRAL.bytes, nameEnd))
    checkStored(path, name, view.getUint16(at + 8, true), view.getUint16(at + 10, true))
    const extra = new DataView(bytes.buffer, bytes.byteOffset + nameEnd, extraEnd - nameEnd)
    const sizes = [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)]
    const [sizeBytes, packedBytes, headerStart] = widen(path, name, sizes, extra) as [number, number, number]
    if (sizeBytes !== packedBytes) throw failure(`${path}: ${quote(name)}`, `${sizeBytes} bytes`, `${packedBytes}`)
    entries.push({ name, headerStart, sizeBytes })
    at = extraEnd + view.getUint16(at + 32, true)
  }
  return entries
}

function checkStored(path: string, name: string, flags: number, method: number): void {
  const where = `${path}: ${quote(name)}`
  if (flags & 1) throw failure(where, "an entry without encryption", "an encrypted one", "save it without a password")
  if (method !== 0) {
    throw failure(where, "a stored entry", `compression method ${method}`, "save it with torch.save, not a ZIP tool")
  }
}

/** Replaces the full 32-bit fields, in order, by those of the ZIP64 extra field. */
function widen(path: string, name: string, fields: readonly number[], extra: DataView): number[] {
  if (!fields.includes(FULL32)) return [...fields]
  let at = 0
  while (at + 4 <= extra.byteLength && extra.getUint16(at, true) !== ZIP64_FIELD)
    at += 4 + extra.getUint16(at + 2, true)
  let next = at + 4
  return fields.map((field) => {
    if (field !== FULL32) return field
    if (next + 8 > extra.byteLength) throw failure(`${path}: ${quote(name)}`, "a ZIP64 size", "none")
    next += 8
    return bigAt(path, extra, next - 8)
  })
}

/** Finds the data behind an entry's own header, whose name and extra field may be longer than in the directory. */
async function locate(source: FileSource, path: string, entry: CentralEntry, limit: number): Promise<ZipEntry> {
  const { name, headerStart, sizeBytes } = entry
  const where = `${path}: ${quote(name)}`
  const inside = headerStart + LOCAL.bytes <= limit
  const header = inside ? viewOf(await source.read(path, headerStart, LOCAL.bytes)) : undefined
  if (header?.getUint32(0, true) !== LOCAL.signature) throw failure(where, "an entry header", "none")
  const start = headerStart + LOCAL.bytes + header.getUint16(26, true) + header.getUint16(28, true)
  if (start + sizeBytes > limit) {
    throw failure(where, `${sizeBytes} bytes before byte ${limit}`, `${limit - start}`)
  }
  return { start, sizeBytes }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function bigAt(path: string, view: DataView, at: number): number {
  const value = view.getBigUint64(at, true)
  if (value > Number.MAX_SAFE_INTEGER) throw failure(path, "a size below 2^53", `${value}`)
  return Number(value)
}
