/** @file Which model a page means: an address, a folder's handle, or files that were picked from one. */
import type { WebModelPlace } from "./engine/index.ts"
import { InputError } from "./util/index.ts"

/** The address of a model folder (relative ones are below the page's), or a folder that a person picked. */
export type ModelSource = string | URL | FileSystemDirectoryHandle | FileList | readonly File[]

/**
 * @param base address of the page
 * @throws InputError for what is none of them
 */
export function modelPlace(model: ModelSource, base: string): WebModelPlace {
  if (typeof model === "string" || model instanceof URL) return { kind: "url", url: addressOf(model, base) }
  const { kind } = Object(model) as { readonly kind?: unknown }
  if (kind === "directory") return { kind: "folder", handle: model as FileSystemDirectoryHandle }
  const isList = Array.isArray(model) || (typeof FileList !== "undefined" && model instanceof FileList)
  const files = isList ? Array.from(model as ArrayLike<File>) : []
  if (files.length === 0 || !files.every((file) => file instanceof File)) {
    const got = isList
      ? files.length === 0
        ? "no files"
        : "a list of something else"
      : kind
        ? `a ${kind}`
        : typeof model
    throw new InputError(`Omni.load: expected the address of a model folder, or a folder that was picked, got ${got}`)
  }
  return { kind: "files", ...belowTop(files) }
}

function addressOf(model: string | URL, base: string): string {
  const url = model !== "" && URL.canParse(model, base) ? new URL(model, base) : undefined
  if (url && /^https?:$/.test(url.protocol)) return url.href
  const got = model === "" ? "no text" : String(model)
  throw new InputError(`Omni.load: expected the http or https address of a model folder, got ${got}`)
}

/** Browsers give paths from the picked folder on, its name first. */
function belowTop(files: readonly File[]) {
  const paths = files.map((file) => (file.webkitRelativePath || file.name).split("/"))
  const top = paths[0]!.length > 1 ? paths[0]![0]! : undefined
  const shared = top !== undefined && paths.every((parts) => parts.length > 1 && parts[0] === top)
  return {
    name: shared ? top : "picked files",
    files: files.map((file, i) => ({ path: paths[i]!.slice(shared ? 1 : 0).join("/"), file: file as Blob })),
  }
}
