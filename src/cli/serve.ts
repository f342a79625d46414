/** @file `omni serve`: OpenAI's HTTP and Realtime protocols and the web page, from one model. */
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { homedir, networkInterfaces } from "node:os"
import { basename, isAbsolute, join } from "node:path"
import { defineCommand } from "citty"
import { startEngineProcess } from "../engine/index.node.ts"
import {
  checkHost,
  createLogger,
  createServer,
  localCertificate,
  machineNames,
  readCertificate,
  type ServerOptions,
  SILENCE_MS,
  Supervisor,
} from "../server/index.ts"
import { ConfigError } from "../util/index.ts"
import { listFlag, listParts, MODEL_FLAGS, numberFlag, OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { createOutput } from "./output.ts"
import { loadOptions, noteUntrained } from "./with-model.ts"

const PAGE = join(import.meta.dirname, "..", "..", "web", "dist")

const FLAGS = {
  ...MODEL_FLAGS,
  host: {
    type: "string",
    description: "address to listen on; others than this machine's own need a key",
    default: "127.0.0.1",
  },
  port: { type: "string", description: "port to listen on, 0 for any", valueHint: "N", default: "8000" },
  "api-key": {
    type: "string",
    description: "keys that clients must send, with commas between; or in OMNI_API_KEY",
    valueHint: "KEY",
  },
  tls: {
    type: "boolean",
    description: "HTTPS with a certificate made for this machine (microphones need it from elsewhere)",
  },
  "tls-cert": { type: "string", description: "your own certificate, PEM", valueHint: "FILE" },
  "tls-key": { type: "string", description: "its private key, PEM", valueHint: "FILE" },
  origin: { type: "string", description: "other pages that may ask, with commas between", valueHint: "URL" },
  name: { type: "string", description: "name of the model for clients", valueHint: "NAME" },
  "max-sessions": { type: "string", description: "requests, and calls, at once", valueHint: "N", default: "8" },
  queue: { type: "string", description: "requests that may wait", valueHint: "N", default: "64" },
  "rate-limit": { type: "string", description: "requests per minute and key", valueHint: "N" },
  "max-body": { type: "string", description: "largest request in MiB", valueHint: "N", default: "64" },
  timeout: { type: "string", description: "longest request in seconds", valueHint: "N", default: "1800" },
  "engine-timeout": {
    type: "string",
    description: "seconds without a sign of life after which the engine is started anew, 0 for never",
    valueHint: "N",
    default: String(SILENCE_MS / 1000),
  },
  "remote-files": { type: "boolean", description: "fetch images, sound and videos that requests name by URL" },
  voices: { type: "string", description: "folder of stored voices", valueHint: "DIR" },
  web: { type: "string", description: "folder of the built page", valueHint: "DIR" },
  "no-open": { type: "boolean", description: "do not open the page in a browser" },
  ...OUTPUT_FLAGS,
} as const

/** The folder for what must last: `$XDG_DATA_HOME/omni`, or `~/.local/share/omni`. */
function dataFolder(): string {
  const shared = process.env.XDG_DATA_HOME ?? ""
  return join(isAbsolute(shared) ? shared : join(homedir(), ".local", "share"), "omni")
}

/** Keys that are too short are a mistake: who guesses has all the time. */
const SHORTEST_KEY = 8

/** @throws ConfigError when one is short */
function clientKeys(rawArgs: readonly string[]): string[] {
  const given = listFlag("api-key", rawArgs)
  const keys = given.length > 0 ? given : listParts(process.env.OMNI_API_KEY ?? "")
  if (keys.some((key) => key.length < SHORTEST_KEY))
    throw new ConfigError(
      `--api-key: expected at least ${SHORTEST_KEY} characters, got fewer (make one: openssl rand -hex 24)`,
    )
  return keys
}

/** Where others find a server that listens everywhere: no browser opens 0.0.0.0. */
function reachable(url: string, host: string): string[] {
  if (host !== "0.0.0.0" && host !== "::") return [url]
  const found = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  const names = [
    "localhost",
    ...found.filter((one) => one.family === "IPv4" && !one.internal).map((one) => one.address),
  ]
  const { protocol, port } = new URL(url)
  return names.map((name) => `${protocol}//${name}:${port}`)
}

/** A machine without a screen has no browser to open. */
const hasScreen = () => process.platform !== "linux" || Boolean(process.env.DISPLAY || process.env.WAYLAND_DISPLAY)

function openBrowser(url: string): void {
  const [command, ...args] =
    process.platform === "darwin"
      ? ["open", url]
      : process.platform === "win32"
        ? ["cmd", "/c", "start", "", url]
        : ["xdg-open", url]
  const child = spawn(command!, args, { stdio: "ignore", detached: true })
  child.on("error", () => undefined) // a machine without a browser
  child.unref()
}

export const serve = defineCommand({
  meta: { name: "serve", description: "OpenAI's HTTP and Realtime protocols, and the page to talk to" },
  args: FLAGS,
  async run({ args, rawArgs }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    const port = numberFlag("port", args.port, 0)!
    if (port > 65_535) throw new ConfigError(`--port: expected 0 to 65535, got ${port}`)
    const perMinute = numberFlag("rate-limit", args["rate-limit"], 1)
    const limits = {
      maxBodyBytes: numberFlag("max-body", args["max-body"], 1)! * 1024 * 1024,
      totalMs: numberFlag("timeout", args.timeout, 1)! * 1000,
    }
    const maxSessions = numberFlag("max-sessions", args["max-sessions"], 1)!
    const silenceMs = numberFlag("engine-timeout", args["engine-timeout"], 0)! * 1000
    const maxQueue = numberFlag("queue", args.queue, 0)!
    const origins = listFlag("origin", rawArgs)
    const keys = clientKeys(rawArgs)
    checkHost(args.host, keys) // before minutes of loading
    if ((args["tls-cert"] === undefined) !== (args["tls-key"] === undefined))
      throw new ConfigError("--tls-cert: expected --tls-key beside it, got one of the two")
    const webRoot = args.web ?? (existsSync(join(PAGE, "index.html")) ? PAGE : undefined)
    if (webRoot !== undefined && !existsSync(join(webRoot, "index.html")))
      throw new ConfigError(`--web: expected a folder with index.html, got ${webRoot}`)
    const load = await loadOptions(args)
    const tls =
      args["tls-cert"] !== undefined
        ? await readCertificate(args["tls-cert"], args["tls-key"]!)
        : args.tls
          ? await localCertificate(join(dataFolder(), "tls"), machineNames([args.host]))
          : undefined
    const log = createLogger((line) => {
      if (!output.json && args.quiet !== true) process.stderr.write(line)
    })
    await interruptible(async (signal) => {
      await using source = await Supervisor.start(
        { start: () => startEngineProcess(), load, log, silenceMs, onProgress: output.progress },
        signal,
      )
      output.done()
      const { info } = source.engine
      output.note(`${info.name} on ${info.device}, loaded in ${(info.loadMs / 1000).toFixed(1)} s`)
      noteUntrained(output, info)
      const options: ServerOptions = {
        ...{ source, log, keys, origins, limits, maxSessions, maxQueue },
        model: args.name ?? basename(load.model),
        voicesFolder: args.voices ?? join(dataFolder(), "voices"),
        ...(perMinute === undefined ? {} : { requestsPerMinute: perMinute }),
        ...(webRoot === undefined ? {} : { webRoot }),
        ...(args["remote-files"] ? { remoteFiles: {} } : {}),
        ...(tls ? { tls } : {}),
      }
      const server = await createServer(options)
      try {
        const url = await server.listen(port, args.host)
        output.record({ type: "listening", url, model: options.model })
        const addresses = reachable(url, args.host)
        output.note(
          webRoot === undefined ? "the API (this copy has no page: npm run build makes it):" : "talk to it here:",
        )
        for (const one of addresses) output.text(`${one}/${webRoot === undefined ? "v1" : ""}\n`)
        const wanted = process.stdout.isTTY && hasScreen() && webRoot !== undefined && !rawArgs.includes("--no-open")
        if (wanted && !output.json) openBrowser(addresses[0]!)
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }))
        output.note("stopping")
      } finally {
        await server.close()
      }
      // Ended by a signal, as servers are: no error, and no exit code of one.
    })
  },
})
