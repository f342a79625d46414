/** @file Small parts of the server on their own: queue, voices, the page's files, certificates. */

import { X509Certificate } from "node:crypto"
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createSecureContext } from "node:tls"
import { gunzipSync } from "node:zlib"
import fc from "fast-check"
import { afterAll, describe, expect, test } from "vitest"
import { Admission } from "./admission.ts"
import { parseJson } from "./body.ts"
import { tone, wavFile } from "./http.test-util.ts"
import { createStaticFiles } from "./static-files.ts"
import { localCertificate, machineNames, readCertificate } from "./tls.ts"
import { Voices } from "./voices.ts"

const folder = mkdtempSync(join(tmpdir(), "omni-server-"))
afterAll(() => rmSync(folder, { recursive: true }))

describe("admission", () => {
  const never = new AbortController().signal

  test("owners take turns", async () => {
    const admission = new Admission({ maxRunning: 1, maxWaiting: 10 })
    const leave = await admission.enter("a", never)
    const order: string[] = []
    const wait = (owner: string) =>
      admission.enter(owner, never).then((next) => {
        order.push(owner)
        next()
      })
    const all = ["a", "a", "a", "b", "b", "c"].map(wait)
    leave()
    leave() // a second time does nothing
    await Promise.all(all)
    expect(order).toEqual(["b", "a", "b", "a", "c", "a"])
    expect([admission.running, admission.waiting]).toEqual([0, 0])
  })

  test("law: never more than allowed at once, and every place comes back", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.record({ owner: fc.constantFrom("a", "b"), steps: fc.nat(4), leaves: fc.boolean() }), {
          maxLength: 20,
        }),
        async (maxRunning, clients) => {
          const admission = new Admission({ maxRunning, maxWaiting: 100 })
          let most = 0
          await Promise.all(
            clients.map(async ({ owner, steps, leaves }) => {
              const controller = new AbortController()
              if (leaves) queueMicrotask(() => controller.abort(new Error("left")))
              const leave = await admission.enter(owner, controller.signal).catch(() => undefined)
              if (!leave) return
              most = Math.max(most, admission.running)
              for (let i = 0; i < steps; i++) await Promise.resolve()
              leave()
            }),
          )
          expect(most).toBeLessThanOrEqual(maxRunning)
          expect([admission.running, admission.waiting]).toEqual([0, 0])
        },
      ),
    )
  })
})

test("law: JSON within the depth is read as it is", () => {
  fc.assert(fc.property(fc.json(), (text) => void expect(parseJson(text)).toEqual(JSON.parse(text))))
  expect(() => parseJson(`"${"[".repeat(200)}"`)).not.toThrow()
  expect(() => parseJson("[".repeat(101))).toThrow("expected at most 100 levels")
})

describe("voices", () => {
  test("are there again after a restart, for their owner alone, in files that only we read", async () => {
    const place = join(folder, "voices")
    const first = await Voices.open(place)
    const voice = await first.add("Änna 2", wavFile(tone(1.5, 8000), 8000), "one", 5000)
    await first.add("Bob", wavFile(tone(2)), "", 6000)
    const second = await Voices.open(place)
    expect(second.list("one")).toEqual([voice])
    const sound = second.find("Änna 2", "one")!
    expect([sound.sampleRateHz, sound.pcm.length]).toEqual([16_000, 24_000])
    expect(second.find(voice.id, "one")).toBe(sound)
    expect(second.find("alloy", "one")).toBeUndefined()
    expect(() => second.find("Änna 2", "two")).toThrow("voice: expected a known voice")
    for (const name of readdirSync(place)) {
      expect(name).toMatch(/^voice_[\w-]{16}\.(json|wav)$/)
      expect(statSync(join(place, name)).mode & 0o077).toBe(0)
    }
    await second.remove(voice.id, "one")
    expect((await Voices.open(place)).list("one")).toEqual([])
  })

  test("have a length, a new name, and a limit", async () => {
    const voices = await Voices.open(undefined)
    const file = wavFile(tone(1))
    await expect(voices.add("a", wavFile(tone(0.5)), "", 0)).rejects.toThrow(
      "audio_sample: expected 1 to 30 s, got 0.5 s",
    )
    await expect(voices.add("a", wavFile(tone(31)), "", 0)).rejects.toThrow("audio_sample: expected at most 30 s")
    await voices.add("a", file, "", 0)
    await expect(voices.add("a", file, "", 0)).rejects.toThrow("name: expected a new name")
    await voices.add("a", file, "other", 0)
    for (let i = 2; i < 100; i++) await voices.add(`n${i}`, file, "", 0)
    await expect(voices.add("more", file, "", 0)).rejects.toThrow("voices: expected at most 100")
  })
})

describe("the page's files", () => {
  const root = join(folder, "page")
  mkdirSync(join(root, "assets"), { recursive: true })
  writeFileSync(join(root, "index.html"), "<!doctype html>")
  writeFileSync(join(root, "assets", "index-Ab12Cd34.js"), "1")
  const LARGE = "a{}".repeat(2000)
  writeFileSync(join(root, "assets", "large-Ab12Cd34.css"), LARGE)
  writeFileSync(join(root, "secret.key"), "x")
  writeFileSync(join(folder, "outside.html"), "x")
  const files = createStaticFiles(root)
  const get = (path: string, headers: Record<string, string> = {}) => files(new Request(`http://a${path}`, { headers }))

  test("come with their type, a strict policy, and times to keep them", async () => {
    const page = get("/")!
    expect(await page.text()).toBe("<!doctype html>")
    expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8")
    expect(page.headers.get("content-security-policy")).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'self';/,
    )
    expect(page.headers.get("content-security-policy")).not.toMatch(/unsafe|\*|https?:|wss?:/)
    expect(page.headers.get("cache-control")).toBe("no-cache")
    const etag = page.headers.get("etag")!
    expect(get("/index.html", { "if-none-match": etag })!.status).toBe(304)
    expect(get("/assets/index-Ab12Cd34.js")!.headers.get("cache-control")).toContain("immutable")
  })

  test("large texts come compressed to who takes it", async () => {
    const packed = get("/assets/large-Ab12Cd34.css", { "accept-encoding": "br, gzip" })!
    expect(packed.headers.get("content-encoding")).toBe("gzip")
    expect(gunzipSync(await packed.arrayBuffer()).toString()).toBe(LARGE)
    const plain = get("/assets/large-Ab12Cd34.css")!
    expect([plain.headers.get("content-encoding"), await plain.text()]).toEqual([null, LARGE])
    expect(get("/", { "accept-encoding": "gzip" })!.headers.has("content-encoding")).toBe(false)
  })

  test.each([
    "/secret.key",
    "/../outside.html",
    "/%2e%2e/outside.html",
    "/..%2foutside.html",
    "/assets",
    "/assets/",
    "/x",
  ])("%s is not among them", (path) => {
    expect(get(path)).toBeUndefined()
  })
})

describe("certificates", () => {
  test("one is made for all names, kept, and made anew when it lacks one", async () => {
    const place = join(folder, "tls")
    const names = machineNames(["omni.local", "192.168.7.7"])
    const made = await localCertificate(place, names)
    createSecureContext(made) // throws when key and certificate do not fit
    const { checkHost, checkIP, ca } = { ...bound(made.cert) }
    expect([
      checkHost("omni.local"),
      checkHost("localhost"),
      checkIP("192.168.7.7"),
      checkIP("127.0.0.1"),
    ]).not.toContain(undefined)
    expect(ca).toBe(false)
    expect(statSync(join(place, "local-key.pem")).mode & 0o077).toBe(0)
    expect(await localCertificate(place, names)).toEqual(made)
    expect(await localCertificate(place, [...names, "other.local"])).not.toEqual(made)
    writeFileSync(join(place, "local-cert.pem"), "damaged")
    createSecureContext(await localCertificate(place, names))
  })

  const bound = (cert: string) => {
    const parsed = new X509Certificate(cert)
    return {
      checkHost: (name: string) => parsed.checkHost(name),
      checkIP: (ip: string) => parsed.checkIP(ip),
      ca: parsed.ca,
    }
  }

  test("of the operator are read, or refused by name", async () => {
    const place = join(folder, "own")
    const made = await localCertificate(place, ["localhost"])
    const [cert, key] = [join(place, "local-cert.pem"), join(place, "local-key.pem")]
    expect(await readCertificate(cert, key)).toEqual(made)
    await expect(readCertificate(key, key)).rejects.toThrow("--tls-cert: expected a PEM certificate")
    await expect(readCertificate(cert, cert)).rejects.toThrow("--tls-key: expected a PEM private key")
    await expect(readCertificate(join(place, "no"), key)).rejects.toThrow("--tls-cert: expected a readable PEM file")
  })
})
