/** @file Bundles a TypeScript entry for browsers with Vite, in memory, and tells what it would need of Node.js. */
import { builtinModules } from "node:module"
import { join } from "node:path"
import { build, defaultClientConditions, type Plugin, type Rolldown } from "vite"

const ROOT = join(import.meta.dirname, "../..")

export type Bundle = {
  /** JavaScript by file name, and other files where the bundle has some; the entry keeps its own name. */
  readonly files: ReadonlyMap<string, string | Uint8Array>
  /** Imports that no browser has, as `importer: name`, paths below the repository. */
  readonly foreign: readonly string[]
}

const FOREIGN = /^node:|\.node(\.ts)?$|^(sharp|onnxruntime-node)$/

/** Vite replaces what Node.js alone has by empty modules: this sees it before. */
function watchImports(found: Set<string>): Plugin {
  return {
    name: "watch-imports",
    enforce: "pre",
    resolveId(source, importer) {
      if (!FOREIGN.test(source) && !builtinModules.includes(source)) return
      found.add(`${importer?.replace(`${ROOT}/`, "") ?? "entry"}: ${source}`)
    },
  }
}

/**
 * @param entry path of the entry below the repository; it keeps its exports
 * @param asApplication with all that an application of the library gets: its worker, ONNX Runtime's files, the Silero model
 */
export async function bundleForBrowser(entry: string, { asApplication = false } = {}): Promise<Bundle> {
  const found = new Set<string>()
  const result = await build({
    configFile: false,
    root: ROOT,
    logLevel: "silent",
    plugins: [watchImports(found)],
    // ONNX Runtime's .mjs and .wasm files stay files of their own, for which the page names a folder.
    ...(asApplication
      ? {}
      : { resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] } }),
    base: "./",
    worker: { format: "es", plugins: () => [watchImports(found)] },
    build: {
      assetsInlineLimit: 0,
      write: false,
      target: "esnext",
      modulePreload: false,
      rolldownOptions: {
        input: join(ROOT, entry),
        preserveEntrySignatures: "strict",
        output: { entryFileNames: "[name].js", chunkFileNames: "[name].js" },
      },
    },
  })
  const { output } = result as Rolldown.RolldownOutput
  const files = output.flatMap((file) =>
    file.type === "chunk"
      ? [[file.fileName, file.code] as const]
      : asApplication
        ? [[file.fileName, file.source] as const]
        : [],
  )
  return { files: new Map(files), foreign: [...found].sort() }
}
