/** @file What a page may call a model, and what it is told otherwise. */
import { expect, test } from "vitest"
import { type ModelSource, modelPlace } from "./omni.models.web.ts"
import { InputError } from "./util/index.ts"

const BASE = "https://example.org/app/page.html"
const picked = (path: string) => {
  const file = new File(["x"], path.split("/").at(-1)!)
  return Object.defineProperty(file, "webkitRelativePath", { value: path.includes("/") ? path : "" })
}

test.each<[ModelSource, string]>([
  ["models/nano", "https://example.org/app/models/nano"],
  ["/models/nano/", "https://example.org/models/nano/"],
  ["http://127.0.0.1:8000/m", "http://127.0.0.1:8000/m"],
  [new URL("https://other.org/m?token=1"), "https://other.org/m?token=1"],
])("%s is an address", (model, url) => {
  expect(modelPlace(model, BASE)).toEqual({ kind: "url", url })
})

test("a directory's handle goes as it is", () => {
  const handle = { kind: "directory", name: "nano" } as FileSystemDirectoryHandle
  expect(modelPlace(handle, BASE)).toEqual({ kind: "folder", handle })
})

test("files lie below the folder that was picked, whose name the model gets", () => {
  const files = [picked("nano/config.json"), picked("nano/assets/Vocos.pt")]
  const place = modelPlace(files, BASE)
  expect(place).toMatchObject({ kind: "files", name: "nano" })
  expect(place.kind === "files" && place.files.map(({ path }) => path)).toEqual(["config.json", "assets/Vocos.pt"])
  const loose = modelPlace([picked("config.json"), picked("nano/assets/Vocos.pt")], BASE)
  expect(loose.kind === "files" && loose.files.map(({ path }) => path)).toEqual(["config.json", "nano/assets/Vocos.pt"])
})

test.each([
  ["", "expected the http or https address of a model folder, got no text"],
  ["file:///models/nano", "expected the http or https address of a model folder, got file:///models/nano"],
  ["blob:https://example.org/1", "expected the http or https address of a model folder, got blob:"],
  [[], "got no files"],
  [["config.json"], "got a list of something else"],
  [{ kind: "file" }, "got a file"],
  [undefined, "got undefined"],
  [null, "got object"],
])("%j is told", (model, message) => {
  expect(() => modelPlace(model as ModelSource, BASE)).toThrow(InputError)
  expect(() => modelPlace(model as ModelSource, BASE)).toThrow(message)
})
