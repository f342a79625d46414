/** @file What `npm start` makes of its flags: a port that is free, unless one was asked for. */
import { once } from "node:events"
import { createServer } from "node:net"
import { expect, test } from "vitest"
import { serveArguments } from "./start.ts"

test("a port that another program uses is passed over; one that was asked for is not", async () => {
  const other = createServer().listen(8000, "127.0.0.1")
  // Something else on this machine may have it already: as good.
  await Promise.race([once(other, "listening"), once(other, "error")])
  const [command, flag, port, ...rest] = await serveArguments(["--no-open"])
  expect([command, flag, rest]).toEqual(["serve", "--port", ["--no-open"]])
  expect(Number(port)).toBeGreaterThan(8000)
  other.close()
  expect(await serveArguments(["--port", "8000"])).toEqual(["serve", "--port", "8000"])
  expect(await serveArguments(["--port=8000"])).toEqual(["serve", "--port=8000"])
})
