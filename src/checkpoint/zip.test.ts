import { expect, test } from "vitest"
import { CheckpointError, concatenate } from "../util/index.ts"
import { guarded, oneFile, utf8, zipBytes } from "./test-support.ts"
import { readZip } from "./zip.ts"

const names = (bytes: Uint8Array) => readZip(guarded(oneFile("a", bytes)), "a")
const items = [
  { name: "x/a", bytes: utf8("first") },
  { name: "x/b", bytes: utf8("second!") },
]

/** The archive of `items` after `change` has had its bytes, with the starts of its end record and directory. */
async function changed(change: (view: DataView, end: number, directory: number) => void): Promise<Uint8Array> {
  const bytes = await zipBytes(items)
  const view = new DataView(bytes.buffer)
  const end = bytes.length - 22
  change(view, end, view.getUint32(end + 16, true))
  return bytes
}

/** The same archive with all sizes and places in ZIP64 records, data descriptors announced, and a comment. */
async function asZip64(): Promise<Uint8Array> {
  const bytes = await zipBytes(items)
  const view = new DataView(bytes.buffer)
  const end = bytes.length - 22
  const start = view.getUint32(end + 16, true)
  const directory: Uint8Array[] = []
  let at = start
  for (const item of items) {
    const head = bytes.slice(at, at + 46)
    const headView = new DataView(head.buffer)
    const extra = new Uint8Array(4 + 4 + 24)
    const extraView = new DataView(extra.buffer)
    extraView.setUint16(0, 0x9999, true) // another field first
    extraView.setUint16(4, 1, true)
    extraView.setUint16(6, 24, true)
    const fields = [24, 20, 42]
    for (const [index, field] of fields.entries()) {
      extraView.setBigUint64(8 + 8 * index, BigInt(headView.getUint32(field, true)), true)
      headView.setUint32(field, 0xffffffff, true)
    }
    headView.setUint16(8, 0x0808, true)
    headView.setUint16(30, extra.length, true)
    directory.push(head, utf8(item.name), extra)
    at += 46 + item.name.length
  }
  const directoryBytes = concatenate(directory)
  const end64 = new DataView(new ArrayBuffer(56))
  end64.setUint32(0, 0x06064b50, true)
  end64.setBigUint64(32, 2n, true)
  end64.setBigUint64(40, BigInt(directoryBytes.length), true)
  end64.setBigUint64(48, BigInt(start), true)
  const locator = new DataView(new ArrayBuffer(20))
  locator.setUint32(0, 0x07064b50, true)
  locator.setBigUint64(8, BigInt(start + directoryBytes.length), true)
  const tail = new Uint8Array(22).fill(0xff)
  tail.set([0x50, 0x4b, 5, 6, 0, 0, 0, 0])
  tail.set([3, 0], 20)
  const parts = [end64, locator].map(({ buffer }) => new Uint8Array(buffer))
  return concatenate([bytes.subarray(0, start), directoryBytes, ...parts, tail, utf8("PK!")])
}

test("finds the bytes of every entry, with and without ZIP64", async () => {
  for (const bytes of [await zipBytes(items), await asZip64()]) {
    const entries = await names(bytes)
    expect([...entries.keys()]).toEqual(["x/a", "x/b"])
    for (const { name, bytes: content } of items) {
      const { start, sizeBytes } = entries.get(name)!
      expect(bytes.slice(start, start + sizeBytes)).toEqual(content)
    }
  }
})

test("an archive without entries is empty", async () => {
  expect((await names(await zipBytes([]))).size).toBe(0)
})

test.each<[string, () => Promise<Uint8Array>, string]>([
  ["a cut archive", async () => (await zipBytes(items)).slice(0, -1), "a: expected a ZIP archive, got no end record"],
  ["nothing", async () => new Uint8Array(0), "a: expected a ZIP archive, got no end record"],
  [
    "a compressed entry",
    () => changed((view, _, at) => view.setUint16(at + 10, 8, true)),
    'a: "x/a": expected a stored entry, got compression method 8 (save it with torch.save, not a ZIP tool)',
  ],
  [
    "an encrypted entry",
    () => changed((view, _, at) => view.setUint16(at + 8, 1, true)),
    'a: "x/a": expected an entry without encryption, got an encrypted one (save it without a password)',
  ],
  [
    "several parts",
    () => changed((view, end) => view.setUint16(end + 4, 1, true)),
    "an archive in one file, got one of",
  ],
  [
    "a directory outside",
    () => changed((view, end) => view.setUint32(end + 16, 2 ** 31, true)),
    "expected a directory before",
  ],
  [
    "too many entries",
    () => changed((view, end) => view.setUint16(end + 10, 3, true)),
    "3 entries in the directory, got 2",
  ],
  [
    "absurdly many entries",
    () => changed((view, end) => view.setUint16(end + 10, 60000, true)),
    "at most 20000 entries",
  ],
  [
    "an entry longer than the directory",
    () => changed((view, _, at) => view.setUint16(at + 30, 5000, true)),
    "a: expected a whole directory entry, got a part of one",
  ],
  [
    "a size of two minds",
    () => changed((view, _, at) => view.setUint32(at + 20, 4, true)),
    '"x/a": expected 5 bytes, got 4',
  ],
  [
    "a size beyond the data",
    () =>
      changed((view, _, at) => {
        view.setUint32(at + 20, 1e6, true)
        view.setUint32(at + 24, 1e6, true)
      }),
    '"x/a": expected 1000000 bytes before byte',
  ],
  [
    "a missing ZIP64 size",
    () => changed((view, _, at) => view.setUint32(at + 24, 0xffffffff, true)),
    "a ZIP64 size, got none",
  ],
  [
    "a missing ZIP64 record",
    () => changed((view, end) => view.setUint32(end + 12, 0xffffffff, true)),
    "a ZIP64 end record",
  ],
  [
    "an entry that is elsewhere",
    () => changed((view, _, at) => view.setUint32(at + 42, 1, true)),
    "an entry header, got none",
  ],
  ["a name twice", () => zipBytes([items[0]!, items[0]!]), 'expected unique names in the archive, got "x/a" twice'],
])("refuses %s", async (_, make, message) => {
  const bytes = await make()
  await expect(names(bytes)).rejects.toThrow(CheckpointError)
  await expect(names(bytes)).rejects.toThrow(message)
})
