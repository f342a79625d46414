/** @file Writes a ZIP archive of stored entries whose data starts at multiples of 64, as PyTorch lays out its files. */
import { failure, quote } from "./fail.ts"
import type { FileWriter } from "./sink.ts"

/** One entry to be written. */
export type ZipItem = { readonly name: string; readonly bytes: Uint8Array }

const ALIGNMENT = 64
/** PyTorch's id of the extra field that only pads. */
const PADDING_FIELD = 0x4246
const UTF8_NAMES = 0x0800
/** 1980-01-01, the earliest date of the format: the same input gives the same file. */
const DATE = 0x21
/** Without ZIP64, which a vocoder never needs. */
const MAX_BYTES = 0xfffffffe
const MAX_ENTRIES = 0xfffe

/** Writes entries and directory. @throws CheckpointError when the archive would pass 4 GiB or 65,534 entries */
export async function writeZip(writer: FileWriter, path: string, items: readonly ZipItem[]): Promise<void> {
  const directory: Uint8Array[] = []
  let at = 0
  const write = async (bytes: Uint8Array): Promise<void> => {
    at += bytes.length
    if (at > MAX_BYTES || items.length > MAX_ENTRIES) {
      throw failure(path, "an archive below 4 GiB", `${items.length} entries, ${at} bytes`, "write safetensors instead")
    }
    await writer.write(bytes)
  }
  for (const { name, bytes } of items) {
    const nameBytes = new TextEncoder().encode(name)
    if (nameBytes.length > 0xffff) throw failure(path, "a name below 64 KiB", quote(name), "rename the tensor")
    const crc = crc32(bytes)
    const headerStart = at
    const unpadded = at + 30 + nameBytes.length + 4
    const padding = 4 + ((ALIGNMENT - (unpadded % ALIGNMENT)) % ALIGNMENT)
    const shared = [u16(0), u16(UTF8_NAMES), u16(0), u16(0), u16(DATE), u32(crc), u32(bytes.length), u32(bytes.length)]
    const lengths = [u16(nameBytes.length), u16(padding)]
    await write(pack([u32(0x04034b50), ...shared, ...lengths], nameBytes, paddingField(padding)))
    await write(bytes)
    const places = [u16(nameBytes.length), u16(0), u16(0), u16(0), u16(0), u32(0), u32(headerStart)]
    directory.push(pack([u32(0x02014b50), u16(0), ...shared, ...places], nameBytes))
  }
  const start = at
  for (const entry of directory) await write(entry)
  const counts = [u16(0), u16(0), u16(items.length), u16(items.length), u32(at - start), u32(start), u16(0)]
  await write(pack([u32(0x06054b50), ...counts]))
}

type Field = { readonly bytes: 2 | 4; readonly value: number }
const u16 = (value: number): Field => ({ bytes: 2, value })
const u32 = (value: number): Field => ({ bytes: 4, value })

/** Little-endian fields followed by bytes. */
function pack(fields: readonly Field[], ...tails: readonly Uint8Array[]): Uint8Array {
  const fieldBytes = fields.reduce((sum, field) => sum + field.bytes, 0)
  const out = new Uint8Array(tails.reduce((sum, tail) => sum + tail.length, fieldBytes))
  const view = new DataView(out.buffer)
  let at = 0
  for (const { bytes, value } of fields) {
    if (bytes === 2) view.setUint16(at, value, true)
    else view.setUint32(at, value, true)
    at += bytes
  }
  for (const tail of tails) {
    out.set(tail, at)
    at += tail.length
  }
  return out
}

function paddingField(totalBytes: number): Uint8Array {
  const field = new Uint8Array(totalBytes).fill(0x5a)
  const view = new DataView(field.buffer)
  view.setUint16(0, PADDING_FIELD, true)
  view.setUint16(2, totalBytes - 4, true)
  return field
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
  return value
})

/** CRC-32 of the ZIP format (reflected polynomial 0xedb88320). */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8)
  return ~crc >>> 0
}
