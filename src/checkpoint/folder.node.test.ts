import { mkdtemp, open, readdir, readFile, rm, symlink, writeFile as write } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { CheckpointError } from "../util/index.ts"
import { folderSink, openFolder } from "./folder.node.ts"
import { openSafetensors } from "./safetensors.ts"
import { writeFile, writeText } from "./sink.ts"
import { memorySource } from "./source.ts"
import { rawSafetensors, utf8 } from "./test-support.ts"

let directory = ""
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "checkpoint-"))
})
afterAll(() => rm(directory, { recursive: true }))

test("folder and memory behave the same", async () => {
  const bytes = utf8("0123456789")
  await writeText(folderSink(directory), "deep/er/a.bin", "0123456789")
  await using folder = openFolder(directory)
  for (const source of [folder, memorySource(new Map([["deep/er/a.bin", bytes]]))]) {
    expect(await source.list?.()).toEqual(["deep/er/a.bin"])
    expect(await source.exists("deep/er/a.bin")).toBe(true)
    expect(await source.exists("deep/er")).toBe(false)
    expect(await source.size("deep/er/a.bin")).toBe(10)
    expect(await source.read("deep/er/a.bin", 3, 4)).toEqual(utf8("3456"))
    expect(await source.read("deep/er/a.bin", 10, 0)).toEqual(new Uint8Array(0))
    const outside = "deep/er/a.bin: expected 4 bytes from byte 7, got a file of 10 bytes"
    await expect(source.read("deep/er/a.bin", 7, 4)).rejects.toThrow(outside)
    await expect(source.read("deep/er/a.bin", -1, 4)).rejects.toThrow(CheckpointError)
    await expect(source.size("b.bin")).rejects.toThrow(`b.bin: expected a file in ${source.name}, got none`)
  }
  await expect(folder.size("deep")).rejects.toThrow(`deep: expected a file in ${directory}, got none`)
})

test.each(["../x", "/etc/passwd", "a/../../x", "a//b", "", "..\\x", "C:x", "a\0"])(
  "refuses the path %j",
  async (path) => {
    await using folder = openFolder(directory)
    const message = "expected a relative path inside the folder, got"
    await expect(folder.read(path, 0, 1)).rejects.toThrow(message)
    await expect(folder.exists(path)).rejects.toThrow(message)
    await expect(folderSink(directory).create(path)).rejects.toThrow(message)
  },
)

test("follows links, as download caches need", async () => {
  await write(join(directory, "blob"), "linked")
  await symlink(join(directory, "blob"), join(directory, "link.bin"))
  await using folder = openFolder(directory)
  expect(await folder.exists("link.bin")).toBe(true)
  expect(await folder.read("link.bin", 0, 6)).toEqual(utf8("linked"))
})

test("sees a file that appears after it was missed, and closes for good", async () => {
  const folder = openFolder(directory)
  await expect(folder.size("late.bin")).rejects.toThrow(CheckpointError)
  await write(join(directory, "late.bin"), "now")
  expect(await folder.size("late.bin")).toBe(3)
  await folder.close()
  await expect(folder.size("late.bin")).rejects.toThrow("late.bin: expected an open folder, got one that was closed")
})

test("a file cut while it is open is an error, not zeros", async () => {
  await write(join(directory, "cut.bin"), "0123456789")
  await using folder = openFolder(directory)
  expect(await folder.size("cut.bin")).toBe(10)
  await write(join(directory, "cut.bin"), "01234")
  await expect(folder.read("cut.bin", 2, 6)).rejects.toThrow(
    "cut.bin: expected 6 bytes from byte 2, got an end after 3",
  )
})

test("a failed write leaves the old file and nothing else", async () => {
  const sink = folderSink(join(directory, "atomic"))
  await writeText(sink, "a.txt", "old")
  const failing = writeFile(sink, "a.txt", async (writer) => {
    await writer.write(utf8("half of the new"))
    throw new Error("stopped")
  })
  await expect(failing).rejects.toThrow("stopped")
  expect(await readdir(sink.name)).toEqual(["a.txt"])
  expect(await readFile(join(sink.name, "a.txt"), "utf8")).toBe("old")
  await writeText(sink, "a.txt", "new")
  expect(await readFile(join(sink.name, "a.txt"), "utf8")).toBe("new")
  await sink.remove("a.txt")
  await sink.remove("a.txt")
  expect(await readdir(sink.name)).toEqual([])
})

test("reads rows behind 4 GiB without touching the rest", async () => {
  const rows = 5 * 2 ** 10
  const header = { w: { dtype: "U8", shape: [rows, 2 ** 20], data_offsets: [0, rows * 2 ** 20] } }
  const head = rawSafetensors(header, new Uint8Array(0))
  const file = await open(join(directory, "big.safetensors"), "w")
  await file.write(head, 0, head.length, 0)
  await file.truncate(head.length + rows * 2 ** 20) // a hole: takes no space on disk
  await file.write(Uint8Array.of(7, 8, 9), 0, 3, head.length + (rows - 1) * 2 ** 20)
  await file.close()
  await using folder = openFolder(directory)
  const last = await (await openSafetensors(folder, "big.safetensors")).readRows("w", rows - 1, 1)
  expect(last.shape).toEqual([1, 2 ** 20])
  expect([...last.data.slice(0, 4)]).toEqual([7, 8, 9, 0])
})
