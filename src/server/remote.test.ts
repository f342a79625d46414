import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { afterEach, describe, expect, test } from "vitest"
import { fetchRemote, isPublicAddress, type RemoteParts } from "./remote.ts"

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  }
})

async function host(listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  servers.push(server)
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", () => done()))
  return (server.address() as AddressInfo).port
}

const signal = AbortSignal.timeout(10_000)
/** Stands for a public address: everything resolves to this machine, which is allowed here alone. */
const local: RemoteParts = {
  resolve: async () => [{ address: "127.0.0.1", family: 4 }],
  isAllowed: (one) => one === "127.0.0.1",
}
const get = (url: string, maxBytes = 1000, parts = local) => fetchRemote(url, maxBytes, signal, parts)

test.each([
  "127.0.0.1",
  "10.1.2.3",
  "172.16.0.1",
  "172.31.255.255",
  "192.168.1.1",
  "169.254.169.254",
  "100.64.0.1",
  "0.0.0.0",
  "224.0.0.1",
  "255.255.255.255",
  "198.18.0.1",
  "::1",
  "::",
  "fe80::1",
  "fc00::1",
  "fd12::1",
  "::ffff:127.0.0.1",
  "::ffff:8.8.8.8",
  "::ffff:7f00:1",
  "64:ff9b::7f00:1",
  "2002:7f00:1::",
  "2001::1",
  "2001:db8::1",
  "ff02::1",
  "localhost",
  "",
])("%s is no public address", (address) => expect(isPublicAddress(address)).toBe(false))

test.each(["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"])(
  "%s is one",
  (address) => {
    expect(isPublicAddress(address)).toBe(true)
  },
)

describe("refused before anything is asked", () => {
  test.each([
    ["http://127.0.0.1/", "a public address"],
    ["http://[::1]/", "a public address"],
    ["http://[::ffff:127.0.0.1]/", "a public address"],
    ["http://2130706433/", "a public address"],
    ["http://0x7f.1/", "a public address"],
    ["http://169.254.169.254/latest/meta-data", "a public address"],
    ["https://user:pass@example.org/", "no password in it"],
    ["file:///etc/passwd", "http or https"],
    ["gopher://example.org/", "http or https"],
    ["nonsense", "a URL"],
  ])("%s", async (url, expected) => {
    const refused = fetchRemote(url, 100, signal)
    await expect(refused).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining(`expected ${expected}`),
    })
    await expect(refused).rejects.not.toThrow(url)
  })

  test("a name with one private address among public ones", async () => {
    const resolve = async () => [
      { address: "8.8.8.8", family: 4 },
      { address: "10.0.0.1", family: 4 },
    ]
    await expect(fetchRemote("http://example.org/", 100, signal, { resolve })).rejects.toThrow(
      "expected a public address",
    )
  })
})

describe("fetched", () => {
  test("from the address that was checked, under the name that was asked for", async () => {
    let seen = ""
    const port = await host((request, response) => {
      seen = request.headers.host ?? ""
      response.end("hello")
    })
    expect(Buffer.from(await get(`http://files.example:${port}/a`)).toString()).toBe("hello")
    expect(seen).toBe(`files.example:${port}`)
  })

  test("redirects are checked anew", async () => {
    const port = await host((request, response) => {
      const location = request.url === "/in" ? "http://10.0.0.1/secret" : request.url === "/loop" ? "/loop" : "/end"
      if (request.url === "/end") response.end("there")
      else response.writeHead(302, { location }).end()
    })
    expect(Buffer.from(await get(`http://files.example:${port}/away`)).toString()).toBe("there")
    await expect(get(`http://files.example:${port}/in`)).rejects.toThrow("expected a public address")
    await expect(get(`http://files.example:${port}/loop`)).rejects.toThrow("expected at most 3 redirects")
  })

  test("within limits of size and time", async () => {
    const port = await host((request, response) => {
      if (request.url === "/claimed") response.writeHead(200, { "content-length": 5000 })
      if (request.url === "/slow") return void response.write("a")
      if (request.url === "/no") return void response.writeHead(404).end()
      response.end("x".repeat(5000))
    })
    const base = `http://files.example:${port}`
    await expect(get(`${base}/claimed`)).rejects.toThrow("expected at most 1000 bytes")
    await expect(get(`${base}/endless`)).rejects.toThrow("expected at most 1000 bytes")
    await expect(get(`${base}/no`)).rejects.toThrow("expected status 200, got 404")
    await expect(get(`${base}/slow`, 1000, { ...local, timeoutMs: 100 })).rejects.toThrow(
      "expected a whole file in time",
    )
    await expect(fetchRemote(`${base}/slow`, 1000, AbortSignal.abort(new Error("gone")), local)).rejects.toThrow("gone")
  })
})
