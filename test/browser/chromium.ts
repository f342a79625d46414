/** @file An installed Chromium, and a loopback server of files in memory and ONNX Runtime's. Neither reaches further. */
import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { type Browser, chromium } from "playwright-core"

const ORT_FILES = join(import.meta.dirname, "../../node_modules/onnxruntime-web/dist")

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]

export function findChromium(): string | undefined {
  return BROWSERS.find((path) => existsSync(path))
}

/** WebGPU by Chromium's software driver; no name but the server's resolves. */
const FLAGS = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

/**
 * A headless browser with a fresh profile, which it removes when it closes.
 * @param more flags beside those that every test wants
 */
export function openChromium(executablePath: string, more: readonly string[] = []): Promise<Browser> {
  return chromium.launch({ executablePath, args: [...FLAGS, ...more], chromiumSandbox: false, timeout: 20_000 })
}

export type PageServer = AsyncDisposable & {
  /** Address of an empty page. Its threads share memory with `isolated`. */
  page(options: { isolated: boolean }): string
}

const TYPES: { readonly [extension: string]: string } = {
  js: "text/javascript",
  mjs: "text/javascript",
  wasm: "application/wasm",
}
/** What an application has to allow, and no more: nothing is made of text, and nothing comes from elsewhere but data. */
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' http://127.0.0.1:*"
const ISOLATION = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" }

/** Serves scripts and other files by name, and `ort/…` from the installed onnxruntime-web; both below `isolated/` once more. `never/…` is not answered. */
export async function servePage(scripts: ReadonlyMap<string, string | Uint8Array>): Promise<PageServer> {
  const contentOf = async (name: string): Promise<string | Uint8Array | undefined> => {
    if (name === "") return "<!doctype html><title>test</title>"
    const ort = /^ort\/([\w.-]+\.(?:mjs|wasm))$/.exec(name)?.[1]
    return ort ? await readFile(join(ORT_FILES, ort)).catch(() => undefined) : scripts.get(name)
  }
  const server = createServer(async (request, response) => {
    const [, isolated, name] = /^\/(isolated\/)?([^?]*)/.exec(request.url ?? "")!
    if (name!.startsWith("never/")) return
    const content = await contentOf(name!)
    const type = TYPES[name!.split(".").at(-1)!] ?? "text/html"
    response.writeHead(content === undefined ? 404 : 200, {
      "content-type": type,
      "content-security-policy": POLICY,
      ...(isolated ? ISOLATION : {}),
    })
    response.end(content)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  return {
    page: ({ isolated }) => `http://127.0.0.1:${port}/${isolated ? "isolated/" : ""}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
