/**
 * @file The certificate of `--tls`: the operator's files, or one that is made for this machine's names and kept. Browsers give
 * microphones and cameras to secure origins only, so a page opened from another machine needs one.
 */
import { X509Certificate } from "node:crypto"
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { hostname, networkInterfaces } from "node:os"
import { join } from "node:path"
import { ConfigError, errorText } from "../util/index.ts"

export type Certificate = { readonly cert: string; readonly key: string }

const DAYS = 397 // what browsers accept at most
const RENEW_MS = 30 * 24 * 3600 * 1000

/** @throws ConfigError when a file cannot be read or is no certificate */
export async function readCertificate(certFile: string, keyFile: string): Promise<Certificate> {
  const read = async (flag: string, path: string) => {
    return await readFile(path, "utf8").catch((cause: unknown) => {
      throw new ConfigError(`--${flag}: expected a readable PEM file, got ${errorText(cause)}`, { cause })
    })
  }
  const cert = await read("tls-cert", certFile)
  const key = await read("tls-key", keyFile)
  if (!/-----BEGIN CERTIFICATE-----/.test(cert))
    throw new ConfigError(`--tls-cert: expected a PEM certificate, got another file in ${certFile}`)
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(key))
    throw new ConfigError(`--tls-key: expected a PEM private key, got another file in ${keyFile}`)
  return { cert, key }
}

/** Names and addresses that a page of this machine may be opened under. */
export function machineNames(extra: readonly string[] = []): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address))
  const names = [
    "localhost",
    hostname(),
    "127.0.0.1",
    "::1",
    ...addresses.filter((one) => !one.includes("%")),
    ...extra,
  ]
  return [...new Set(names.filter((name) => name !== "" && name !== "0.0.0.0" && name !== "::"))]
}

/** The stored certificate, or a new one when it is missing, ends soon, or lacks one of the names. */
export async function localCertificate(folder: string, names: readonly string[]): Promise<Certificate> {
  const [certFile, keyFile] = [join(folder, "local-cert.pem"), join(folder, "local-key.pem")]
  try {
    const stored = { cert: await readFile(certFile, "utf8"), key: await readFile(keyFile, "utf8") }
    if (fits(stored.cert, names)) return stored
  } catch {
    // Missing or damaged: a new one takes its place.
  }
  const { generate } = await import("selfsigned")
  const isAddress = (name: string) => /^[\d.]+$|:/.test(name)
  const altNames = names.map((name) =>
    isAddress(name) ? { type: 7 as const, ip: name } : { type: 2 as const, value: name },
  )
  const made = await generate([{ name: "commonName", value: "omni" }], {
    notAfterDate: new Date(Date.now() + DAYS * 24 * 3600 * 1000),
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: false, critical: true },
      { name: "keyUsage", digitalSignature: true, critical: true },
      { name: "extKeyUsage", serverAuth: true },
      { name: "subjectAltName", altNames },
    ],
  })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeFile(keyFile, made.private, { mode: 0o600 })
  await writeFile(certFile, made.cert, { mode: 0o600 })
  return { cert: made.cert, key: made.private }
}

function fits(cert: string, names: readonly string[]): boolean {
  const parsed = new X509Certificate(cert)
  if (Date.parse(parsed.validTo) - Date.now() < RENEW_MS) return false
  return names.every((name) => parsed.checkHost(name) !== undefined || parsed.checkIP(name) !== undefined)
}
