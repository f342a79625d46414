/**
 * @file Fetches files that requests name by URL, when the operator allows it: from public addresses only. A name is resolved
 * once, every address it has must be public, and the connection goes to that very address; each redirect starts anew.
 */
import { lookup } from "node:dns/promises"
import { request as httpRequest, type IncomingMessage } from "node:http"
import { request as httpsRequest } from "node:https"
import { BlockList, isIP } from "node:net"
import { HttpError } from "./errors.ts"

const MAX_REDIRECTS = 3
const TIMEOUT_MS = 20_000

const blocked = new BlockList()
for (const [address, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const)
  blocked.addSubnet(address, bits, "ipv4")
/** What of IPv6 is public; tunnels that carry IPv4 addresses inside are not. */
const publicSix = new BlockList()
publicSix.addSubnet("2000::", 3, "ipv6")
for (const [address, bits] of [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
] as const)
  blocked.addSubnet(address, bits, "ipv6")

/** Whether an address belongs to the public Internet. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address)
  if (family === 4) return !blocked.check(address, "ipv4")
  return family === 6 && publicSix.check(address, "ipv6") && !blocked.check(address, "ipv6")
}

type Address = { readonly address: string; readonly family: number }

export type RemoteParts = {
  readonly resolve?: (host: string) => Promise<readonly Address[]>
  /** Which addresses are allowed; public ones when absent. For tests. */
  readonly isAllowed?: (address: string) => boolean
  readonly timeoutMs?: number
}

/**
 * The file behind a URL.
 * @throws HttpError 400 when the URL or what it leads to is not allowed, is too large, or does not answer; the URL is not shown
 */
export async function fetchRemote(
  url: string,
  maxBytes: number,
  signal: AbortSignal,
  parts: RemoteParts = {},
): Promise<Uint8Array> {
  const timeout = AbortSignal.timeout(parts.timeoutMs ?? TIMEOUT_MS)
  const both = AbortSignal.any([signal, timeout])
  let place = url
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const answer = await open(place, both, parts).catch((error: unknown) => {
      signal.throwIfAborted()
      throw error instanceof HttpError ? error : refuse("an answer", "none")
    })
    const { statusCode = 0, headers } = answer
    if (statusCode >= 300 && statusCode < 400 && headers.location !== undefined) {
      answer.destroy()
      if (!URL.canParse(headers.location, place)) throw refuse("a valid redirect", "another")
      place = new URL(headers.location, place).href
      continue
    }
    if (statusCode !== 200) {
      answer.destroy()
      throw refuse("status 200", String(statusCode))
    }
    return await readAll(answer, maxBytes).catch((error: unknown) => {
      signal.throwIfAborted()
      throw error instanceof HttpError ? error : refuse("a whole file in time", "a part")
    })
  }
  throw refuse(`at most ${MAX_REDIRECTS} redirects`, "more")
}

const refuse = (expected: string, got: string) =>
  new HttpError(400, `url: expected ${expected}, got ${got} (send the file as a data URL)`, { code: "invalid_url" })

async function open(place: string, signal: AbortSignal, parts: RemoteParts): Promise<IncomingMessage> {
  const { resolve = resolveAll, isAllowed = isPublicAddress } = parts
  if (!URL.canParse(place)) throw refuse("a URL", "something else")
  const url = new URL(place)
  if (url.protocol !== "http:" && url.protocol !== "https:") throw refuse("http or https", "another scheme")
  if (url.username !== "" || url.password !== "") throw refuse("no password in it", "one")
  const host = url.hostname.replace(/^\[|\]$/g, "")
  const addresses = isIP(host) > 0 ? [{ address: host, family: isIP(host) }] : await resolve(host)
  const first = addresses.at(0)
  if (!first || !addresses.every(({ address }) => isAllowed(address))) throw refuse("a public address", "another")
  return await new Promise<IncomingMessage>((done, fail) => {
    const send = url.protocol === "https:" ? httpsRequest : httpRequest
    const request = send(url, {
      signal,
      agent: false,
      headers: { accept: "*/*", "accept-encoding": "identity", "user-agent": "omni" },
      // The checked address, not another resolution of the same name.
      lookup: (_host, options, callback) => {
        if (options.all) callback(null, [{ address: first.address, family: first.family }])
        else callback(null, first.address, first.family)
      },
    })
    request.once("response", done)
    request.once("error", fail)
    request.end()
  })
}

const resolveAll = (host: string): Promise<readonly Address[]> => lookup(host, { all: true, verbatim: true })

async function readAll(answer: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = () => refuse(`at most ${maxBytes} bytes`, "more")
  if (Number(answer.headers["content-length"] ?? 0) > maxBytes) {
    answer.destroy()
    throw tooLarge()
  }
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of answer as AsyncIterable<Buffer>) {
    size += piece.length
    if (size > maxBytes) {
      answer.destroy()
      throw tooLarge()
    }
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
