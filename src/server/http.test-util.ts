/** @file A listening server with a fake engine, a stock client, and small files, for tests. */
import { Buffer } from "node:buffer"
import OpenAI from "openai"
import sharp from "sharp"
import { writeWav } from "../audio/index.ts"
import { type FakeEngine, fakeEngine } from "./fake-engine.test-util.ts"
import { createLogger } from "./log.ts"
import { createServer, type OmniServer, type ServerOptions } from "./server.ts"

export const KEY = "sk-test-one"

export type TestServer = AsyncDisposable & {
  readonly engine: FakeEngine
  readonly server: OmniServer
  readonly url: string
  readonly lines: string[]
  readonly client: OpenAI
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>
}

export async function serve(options: Partial<ServerOptions> = {}): Promise<TestServer> {
  const engine = fakeEngine()
  const lines: string[] = []
  const keys = options.keys ?? [KEY]
  const server = await createServer({
    source: engine,
    model: "fake-o",
    log: createLogger((line) => void lines.push(line)),
    ...{ keys, ...options },
  })
  const url = await server.listen(0, "127.0.0.1")
  const authorization = keys[0] === undefined ? {} : { authorization: `Bearer ${keys[0]}` }
  return {
    ...{ engine, server, url, lines },
    client: new OpenAI({ baseURL: `${url}/v1`, apiKey: keys[0] ?? "none", maxRetries: 0, timeout: 30_000 }),
    post: (path, body, headers = {}) =>
      fetch(`${url}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...authorization, ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    [Symbol.asyncDispose]: () => server.close(200),
  }
}

export const tone = (seconds: number, rateHz = 16_000): Float32Array =>
  Float32Array.from({ length: Math.round(seconds * rateHz) }, (_, i) => 0.3 * Math.sin(i * 0.1))

export const wavFile = (pcm: Float32Array, rateHz = 16_000) => writeWav(pcm, { sampleRateHz: rateHz })
export const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64")

export async function pngUrl(width: number, height: number): Promise<string> {
  const image = sharp({ create: { width, height, channels: 3, background: "#123456" } })
  return `data:image/png;base64,${(await image.png().toBuffer()).toString("base64")}`
}

export const user = (text: string) => [{ role: "user" as const, content: text }]
