/**
 * @file The benchmark's side of the llama.cpp peer: starts the child process and gives its requests types. One request
 * at a time; whoever measures decides when, so that both engines can take turns on a noisy machine.
 */
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { startJsonChild } from "../../json-child.ts"

export type PeerMemory = {
  rssBytes: number
  peakRssBytes: number
}

export type LoadRequest = {
  path: string
  threads: number
  /** Positions the cache holds; llama.cpp rounds up to 256. */
  contextSize: number
  /** Most positions evaluated at once (both n_batch and n_ubatch). */
  batchSize: number
  flashAttention: boolean
}

export type LoadReply = PeerMemory & {
  loadMs: number
  /** llama.cpp's release. */
  llamaCpp: string
  /** Its line about the instructions it uses. */
  system: string
  threads: number
  contextSize: number
  batchSize: number
  flashAttention: "auto" | boolean
  mmap: boolean
  /** Tensors rearranged at load for the CPU's instructions, counted by layout. */
  repacked: Record<string, number>
  /** The lines of its log about instruction set, buffers, attention and cache. */
  log: string[]
}

/** Common to all measurements: what had to be evaluated to reach `past` positions, untimed otherwise. */
export type BuiltPast = PeerMemory & {
  builtPositions: number
  builtMs: number
}

export type PrefillReply = BuiltPast & {
  /** One per repetition. */
  tokensPerSecond: number[]
}

export type DecodeReply = PrefillReply & {
  /** Per repetition, the time of each step. */
  stepMs: number[][]
}

export type LlamaCppPeer = {
  load(request: LoadRequest): Promise<LoadReply>
  /** `rows` positions in one batch after `past` cached ones; the cache is cut back to `past` after each repetition. */
  prefill(request: { past: number; rows: number; reps: number }): Promise<PrefillReply>
  /** `tokens` greedy steps after `past` cached positions, cut back likewise. Measure rising `past` to reuse the cache. */
  decode(request: { past: number; tokens: number; reps: number }): Promise<DecodeReply>
  /** Lets the child finish what it was asked, and waits for its end. */
  close(): Promise<void>
}

/** Whether `npm ci --prefix bench/peers/llama-cpp` has been run. */
export function llamaCppInstalled(): boolean {
  return existsSync(new URL("node_modules/node-llama-cpp/package.json", import.meta.url))
}

/**
 * Starts the child process with the Node that runs this one.
 * @throws BackendError from every method when the child fails or ends early.
 */
export function startLlamaCpp(): LlamaCppPeer {
  const { send, close } = startJsonChild("llama.cpp peer", fileURLToPath(new URL("peer.mjs", import.meta.url)))
  return {
    load: (request) => send("load", request),
    prefill: (request) => send("prefill", request),
    decode: (request) => send("decode", request),
    close,
  }
}
