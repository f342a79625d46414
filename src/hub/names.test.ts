/** @file Names from people and servers: what is accepted, what is refused and why, what is fetched of a repository. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { CheckpointError, ConfigError } from "../util/index.ts"
import { checkFileNames, checkModelName, isPathLike, parseModelName } from "./names.ts"
import { checkEndpoint } from "./requests.ts"
import { globTest, missingFiles, selectFiles } from "./select.ts"

describe("models", () => {
  test.each([
    ["openbmb/MiniCPM-o-2_6", { repo: "openbmb/MiniCPM-o-2_6", revision: "main" }],
    ["a/b@v1.0", { repo: "a/b", revision: "v1.0" }],
    ["a/b@refs/pr/3", { repo: "a/b", revision: "refs/pr/3" }],
  ])("%s", (name, want) => expect(parseModelName(name)).toEqual(want))

  test.each([
    "",
    "a",
    "a/",
    "/a",
    "a/b/c",
    "../b",
    "a/..",
    "a/b@",
    "a/b@../x",
    "a/b@x..y",
    "a/b@/x",
    "a/b@x/",
    "a/b@x/./y",
    "a--b/c",
    "a/b@x y",
    "a b/c",
    "a/b?x",
    "a/b#x",
    "a/b@x%2e",
    "a\\b",
    "a/b\n",
    `a/${"b".repeat(97)}`,
    "a/b@.hidden",
  ])("%j is refused", (name) => {
    expect(() => checkModelName(name)).toThrow(
      new ConfigError(`model: expected org/name or org/name@revision, got ${JSON.stringify(name)}`),
    )
  })

  test("a revision of its own replaces the one in the name", () => {
    expect(checkModelName("a/b@x", "y")).toEqual({ repo: "a/b", revision: "y" })
    expect(() => checkModelName("a/b", "../y")).toThrow(
      new ConfigError('revision: expected a branch, tag or commit, got "../y"'),
    )
  })

  test("what looks like a place on disk is never a hub's name", () => {
    for (const path of ["./a/b", "/a/b", "../a", "~/a", "C:\\a", "C:/a", "a\\b", "a/b/c", "."])
      expect(isPathLike(path)).toBe(true)
    for (const name of ["a/b", "nano", "a/b@c"]) expect(isPathLike(name)).toBe(false)
  })
})

describe("file names of a server", () => {
  test.each([
    ["../evil", "expected a relative path inside the folder"],
    ["a/../../evil", "expected a relative path inside the folder"],
    ["/etc/passwd", "expected a relative path inside the folder"],
    ["a//b", "expected a relative path inside the folder"],
    ["./a", "expected a relative path inside the folder"],
    ["a\\..\\b", "expected a relative path inside the folder"],
    ["C:evil", "expected a relative path inside the folder"],
    ["a\0b", "expected a relative path inside the folder"],
    ["", "expected a relative path inside the folder"],
    ["a\nb", "a character that Windows refuses"],
    ["what?", "a character that Windows refuses"],
    ["a\ud800", "a character that Windows refuses"],
    ["CON", "the name of a device on Windows"],
    ["x/aux.json", "the name of a device on Windows"],
    ["LPT1.txt", "the name of a device on Windows"],
    ["a.", "ends in a dot or a space"],
    ["a /b", "ends in a dot or a space"],
    ["é".repeat(128), "longer than 255 bytes"],
    [`${"a/".repeat(500)}b`, "longer than 1000 characters"],
    [".omni/pull.json", "kept for our own files"],
    [".OMNI/x", "kept for our own files"],
  ])("%j", (path, message) => {
    expect(() => checkFileNames("org/m@main", ["config.json", path])).toThrow(CheckpointError)
    expect(() => checkFileNames("org/m@main", ["config.json", path])).toThrow(message)
  })

  test("two names that are one file somewhere", () => {
    expect(() => checkFileNames("m", ["a.json", "A.json"])).toThrow(
      'got "A.json" (the same as "a.json" on some systems)',
    )
    expect(() => checkFileNames("m", ["\u00e9", "e\u0301"])).toThrow("on some systems")
    expect(() => checkFileNames("m", ["a/b", "A"])).toThrow('got "A" (a file and the folder of "a/b")')
    checkFileNames("m", ["a/b", "a/c", "d", "console.txt", "com10", ".gitattributes", "名前/声.wav", "a..b"])
  })

  test("an accepted name never leaves its folder", () => {
    const part = fc.oneof(fc.constantFrom("..", ".", "", "a", "..a", " "), fc.string({ maxLength: 5 }))
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
        const path = parts.join("/")
        try {
          checkFileNames("m", [path])
        } catch {
          return
        }
        const url = new URL(path.split("/").map(encodeURIComponent).join("/"), "http://x/base/")
        expect(url.pathname.startsWith("/base/")).toBe(true)
        expect(path.split("/")).not.toContain("..")
      }),
      { numRuns: 2000 },
    )
  })
})

describe("what is fetched", () => {
  const files = (...paths: string[]) => paths.map((path) => ({ path }))

  test("only what the model needs", () => {
    const kept = [
      "config.json",
      "model.safetensors",
      "assets/Vocos.pt",
      "assets/chattts_tokenizer/vocab.txt",
      "merges.txt",
    ]
    const left = [
      "a.py",
      "README.md",
      "assets/demo.wav",
      "onnx/model.safetensors",
      "x.bin",
      "assets/x.png",
      "notes.json",
    ]
    expect(selectFiles("m", files(...left, ...kept), {})).toEqual(files(...kept))
  })

  test("a repository without config.json is no model", () => {
    expect(() => selectFiles("m", files("model.safetensors"), {})).toThrow(
      new CheckpointError("m: expected a model with a config.json, got none (is it a model of this kind?)"),
    )
  })

  test.each([
    ["*.json", "a/b.json", true],
    ["*.json", "ajson", false],
    ["a?c", "abc", true],
    ["a?c", "ac", false],
    ["[a].txt", "[a].txt", true],
    ["[a].txt", "a.txt", false],
    ["**", "a/b\nc", true],
    ["a+b", "aab", false],
  ])("%s on %j is %s", (pattern, path, want) => expect(globTest(pattern)(path)).toBe(want))

  test.each([
    [["config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"], []],
    [["config.json", "tokenizer_config.json", "vocab.json", "merges.txt", "model.safetensors"], []],
    [["config.json", "tokenizer_config.json", "vocab.json", "model.safetensors"], ["tokenizer.json"]],
    [[], ["config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"]],
    [
      ["config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors.index.json", "b.safetensors"],
      ["a.safetensors"],
    ],
    [["config.json", "tokenizer_config.json", "tokenizer.json", "bundle/bundle.json"], ["bundle/weights.bin"]],
  ])("%j lacks %j", async (there, lacks) => {
    const index = JSON.stringify({ weight_map: { x: "a.safetensors", y: "b.safetensors" } })
    expect(
      await missingFiles(
        async (path) => (there as string[]).includes(path),
        async () => index,
      ),
    ).toEqual(lacks)
  })

  test.each(["{", "[]", '{"weight_map":{"x":5}}', '{"weight_map":{"x":"../y.safetensors"}}'])(
    "index %s",
    async (text) => {
      expect(
        await missingFiles(
          async () => true,
          async () => text,
        ),
      ).toContain("model.safetensors.index.json (damaged)")
    },
  )
})

test("addresses of hubs", () => {
  expect(checkEndpoint("https://huggingface.co/")).toBe("https://huggingface.co")
  expect(checkEndpoint("http://127.0.0.1:8/hf//")).toBe("http://127.0.0.1:8/hf")
  for (const wrong of ["", "huggingface.co", "ftp://x", "https://x?y", "https://x#y", "file:///x"])
    expect(() => checkEndpoint(wrong)).toThrow("HF_ENDPOINT: expected an address such as https://huggingface.co, got")
  const secret = "https://me:secret@x"
  expect(() => checkEndpoint(secret)).toThrow("got one with a user name")
})
