/**
 * @file Load on `omni serve` with the tiny checkpoint: silent and speaking Realtime connections beside each other, then hundreds
 * that send garbage or nothing and some that never read, while the others go on. Throws when an event is lost, memory grows, or
 * somebody is harmed.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { WebSocket } from "ws"
import { concatPcm, encodePcm, readWavMono, resample } from "../../src/audio/index.ts"
import { LoadClient } from "./realtime-client.ts"
import { TINY_CHECKPOINT } from "./simulated-call.ts"

const KEY = "sk-soak-realtime"
const OMNI = new URL("../../src/cli/omni.ts", import.meta.url).pathname
const SPEECH = new URL("../../test/fixtures/tiny-a/assets/audio/speech_en.wav", import.meta.url)

export type Load = {
  readonly idle: number
  readonly speaking: number
  readonly seconds: number
  readonly hostile: number
  /** Who speaks hangs up after so long and calls again, so that contexts end growing. */
  readonly callSeconds?: number
}

export type LoadResult = {
  readonly turns: number
  /** Sorted. */
  readonly latenciesMs: readonly number[]
  readonly firstSoundMs: readonly number[]
  readonly realTimeFactors: readonly number[]
  /** The same latency while the hostile connections are there. */
  readonly hostileLatenciesMs: readonly number[]
  /** Megabytes over time. */
  readonly serverMemory: readonly number[]
  readonly engineMemory: readonly number[]
  /** Most that the server grew while the hostile connections were there. */
  readonly hostileGrowthMb: number
  readonly refused: number
  readonly slowReadersCut: number
}

type Server = {
  readonly child: ChildProcess
  readonly url: string
  readonly metrics: () => Promise<Map<string, number>>
}

async function startServer(data: string): Promise<Server> {
  const flags = [
    "--model",
    TINY_CHECKPOINT,
    "--quantize",
    "none",
    "--threads",
    "1",
    "--port",
    "0",
    "--no-open",
    "--json",
  ]
  const child = spawn(process.execPath, [OMNI, "serve", ...flags, "--max-sessions", "100", "--queue", "20"], {
    env: { ...process.env, XDG_DATA_HOME: data, XDG_CACHE_HOME: data, OMNI_API_KEY: KEY },
    stdio: ["ignore", "pipe", "inherit"],
  })
  let text = ""
  while (!text.includes('"listening"')) {
    const [piece] = (await Promise.race([once(child.stdout!, "data"), once(child, "exit").then(() => [""])])) as [
      Buffer,
    ]
    if (piece.length === 0) throw new Error("omni serve: expected it to listen, got its end")
    text += piece.toString("utf8")
  }
  child.stdout!.resume()
  const { url } = JSON.parse(text.split("\n").find((line) => line.includes('"listening"'))!) as { url: string }
  const metrics = async () => {
    const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })
    const lines = (await response.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"))
    return new Map(
      lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
    )
  }
  return { child, url, metrics }
}

/** A sentence and a pause. Every caller pauses for another time, so that they do not speak in step. */
function turnOf(caller: number): Buffer {
  const { pcm, sampleRateHz } = readWavMono(readFileSync(SPEECH), "speech_en")
  const pause = new Float32Array(24_000 * (2 + (caller % 5) * 0.4))
  return Buffer.from(encodePcm(concatPcm([resample(pcm, sampleRateHz, 24_000), pause]), "s16"))
}

const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b)

export async function realtimeLoad({ idle, speaking, seconds, hostile, callSeconds = 45 }: Load): Promise<LoadResult> {
  const data = mkdtempSync(join(tmpdir(), "omni-load-"))
  const server = await startServer(data)
  const stop = new AbortController()
  try {
    const url = `${server.url.replace("http", "ws")}/v1/realtime`
    const clients = Array.from({ length: idle }, () => new LoadClient(url, KEY))
    const wrong: string[] = []
    /** One call after the other. */
    const callAgain = async (caller: number) => {
      while (!stop.signal.aborted) {
        const client = new LoadClient(url, KEY)
        clients.push(client)
        await client.open()
        const end = AbortSignal.any([stop.signal, AbortSignal.timeout(callSeconds * 1000)])
        await Promise.all([client.ask(1000, end), client.speak(turnOf(caller), end)])
        wrong.push(...(await client.close()))
      }
    }
    await Promise.all(clients.map((client) => client.open()))
    const work = clients.map((client) => client.ask(5000, stop.signal))
    work.push(...Array.from({ length: speaking }, (_, i) => callAgain(i)))
    const serverMemory: number[] = []
    const engineMemory: number[] = []
    const megabytes = async (name: string) => ((await server.metrics()).get(name) ?? 0) / 2 ** 20
    const end = performance.now() + seconds * 1000
    while (performance.now() < end) {
      await sleep(Math.min(5000, seconds * 100))
      serverMemory.push(await megabytes("omni_server_memory_bytes"))
      engineMemory.push(await megabytes("omni_engine_memory_bytes"))
    }
    const all = (of: (client: LoadClient) => readonly number[]) => clients.flatMap((client) => [...of(client)])
    const before = all(({ latenciesMs }) => latenciesMs).length
    const latenciesMs = all(({ latenciesMs: own }) => own)
    const counts = clients.map((client) => client.latenciesMs.length)
    const attack = await attacked(server, hostile)
    const hostileLatenciesMs = clients.flatMap((client, i) => client.latenciesMs.slice(counts[i] ?? 0))
    stop.abort()
    await Promise.all(work)
    wrong.push(...(await Promise.all(clients.slice(0, idle).map((client) => client.close()))).flat())
    if (wrong.length > 0) throw new Error(`expected nothing lost, got ${[...new Set(wrong)].slice(0, 5).join("; ")}`)
    if (before === 0) throw new Error("expected answers to questions, got none")
    return {
      ...attack,
      turns: clients.reduce((sum, { turns }) => sum + turns, 0),
      latenciesMs: sorted(latenciesMs),
      firstSoundMs: sorted(all(({ firstSoundMs }) => firstSoundMs)),
      realTimeFactors: sorted(all(({ realTimeFactors }) => realTimeFactors)),
      hostileLatenciesMs: sorted(hostileLatenciesMs),
      ...{ serverMemory, engineMemory },
    }
  } finally {
    stop.abort()
    server.child.kill("SIGTERM")
    const ended = once(server.child, "exit")
    await Promise.race([ended, sleep(15_000)])
    if (server.child.exitCode === null) server.child.kill("SIGKILL")
    rmSync(data, { recursive: true, force: true })
  }
}

type Attack = Pick<LoadResult, "hostileGrowthMb" | "refused" | "slowReadersCut">

/** Connections that send garbage, nothing, or never read: all there at once for some seconds. */
async function attacked(server: Server, count: number): Promise<Attack> {
  const { hostname, port } = new URL(server.url)
  const rss = async () => ((await server.metrics()).get("omni_server_memory_bytes") ?? 0) / 2 ** 20
  const before = await rss()
  let refused = 0
  // They come first: the others take every place that is left.
  const closers: (() => void)[] = [await slowReader(server), await slowReader(server)]
  for (let i = 0; i < count; i++) {
    if (i % 2 === 0) {
      // Below HTTP: silence, or bytes that are none.
      const socket = connect(Number(port), hostname)
      socket.on("error", () => undefined)
      if (i % 4 === 0) socket.write(Buffer.from([0, 255, 13, 10, 13, 10]))
      closers.push(() => socket.destroy())
    } else {
      const headers = { authorization: `Bearer ${i % 3 === 0 ? "sk-wrong" : KEY}` }
      const socket = new WebSocket(`${server.url.replace("http", "ws")}/v1/realtime`, { headers })
      socket.on("error", () => refused++)
      socket.on("open", () => {
        if (i % 4 === 1) socket.send("{garbage")
        else if (i % 8 === 3) socket.send(Buffer.alloc(1000, i))
      })
      closers.push(() => socket.terminate())
    }
    if (i % 100 === 99) await sleep(50)
  }
  let most = 0
  for (let i = 0; i < 8; i++) {
    await sleep(500)
    most = Math.max(most, await rss())
  }
  const cut = (await server.metrics()).get('omni_realtime_cut_total{reason="slow_reader"}') ?? 0
  for (const close of closers) close()
  return { hostileGrowthMb: most - before, refused, slowReadersCut: cut }
}

/** Asks for a large item again and again and reads nothing. @returns ends it */
async function slowReader(server: Server): Promise<() => void> {
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/v1/realtime`, {
    headers: { authorization: `Bearer ${KEY}` },
  })
  socket.on("error", () => undefined)
  await once(socket, "open")
  const content = [{ type: "input_text", text: "x".repeat(1_000_000) }]
  const item = { id: "large", type: "message", role: "user", content }
  socket.send(JSON.stringify({ type: "conversation.item.create", item }))
  socket.pause()
  for (let i = 0; i < 60; i++) socket.send(JSON.stringify({ type: "conversation.item.retrieve", item_id: "large" }))
  return () => socket.terminate()
}
