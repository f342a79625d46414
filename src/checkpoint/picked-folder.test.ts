/** @file Folders that a person picked: by handle and by files, both with the same contents. */
import { describe, expect, test } from "vitest"
import { openFolderHandle, openPickedFiles } from "./picked-folder.ts"

const CONTENTS: { readonly [path: string]: string } = { "config.json": "{}", "assets/deep/Vocos.pt": "0123456789" }
const missing = (name: string) => Promise.reject(Object.assign(new Error("none"), { name }))

/** As browsers give handles: folders know their members alone. */
function handleOf(name: string, prefix = ""): FileSystemDirectoryHandle {
  const members = Object.keys(CONTENTS).filter((path) => path.startsWith(prefix))
  return {
    name,
    getDirectoryHandle: async (part: string) => {
      const inside = `${prefix}${part}/`
      if (members.includes(`${prefix}${part}`)) return await missing("TypeMismatchError")
      return members.some((path) => path.startsWith(inside)) ? handleOf(part, inside) : await missing("NotFoundError")
    },
    getFileHandle: async (part: string) => {
      const content = CONTENTS[`${prefix}${part}`]
      if (content === undefined) return await missing("NotFoundError")
      return { getFile: async () => new Blob([content]) }
    },
  } as unknown as FileSystemDirectoryHandle
}

const picked = Object.entries(CONTENTS).map(([path, content]) => ({ path, file: new Blob([content]) }))

describe.each([
  ["a handle", () => openFolderHandle(handleOf("tiny"))],
  ["files", () => openPickedFiles("tiny", picked)],
])("%s", (_, open) => {
  test("gives files and ranges", async () => {
    const source = open()
    expect(source.name).toBe("tiny")
    expect(await source.size("assets/deep/Vocos.pt")).toBe(10)
    expect(new TextDecoder().decode(await source.read("assets/deep/Vocos.pt", 3, 4))).toBe("3456")
    expect(await source.exists("config.json")).toBe(true)
    expect(await source.exists("assets")).toBe(false)
    expect(await source.exists("config.json/x")).toBe(false)
  })

  test("tells what is missing or too far", async () => {
    const source = open()
    await expect(source.size("none.json")).rejects.toThrow("none.json: expected a file in tiny, got none")
    await expect(source.read("config.json", 1, 5)).rejects.toThrow(
      "config.json: expected 5 bytes from byte 1, got a file of 2",
    )
    await expect(source.size("../secret")).rejects.toThrow("a relative path inside the folder")
  })
})

test("a file that changed since it was picked is told", async () => {
  const file = {
    size: 4,
    slice: () => ({ arrayBuffer: () => Promise.reject(new Error("changed")) }),
  } as unknown as Blob
  const source = openPickedFiles("tiny", [{ path: "config.json", file }])
  await expect(source.read("config.json", 0, 4)).rejects.toThrow(
    "config.json: expected a readable file, got: changed (did it change since it was picked?",
  )
})
