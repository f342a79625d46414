import { expect, test } from "vitest"
import { ClientSecrets } from "./client-secrets.ts"

test("a secret opens sessions until it expires", () => {
  let nowMs = 1_000_000
  const secrets = new ClientSecrets({ nowMs: () => nowMs })
  const secret = secrets.create({ expires_after: { seconds: 10 }, session: { type: "realtime", voice: "a" } })
  expect(secret).toMatchObject({ expires_at: 1010, session: { audio: { output: { voice: "a" } } } })
  expect(secrets.find(secret.value)).toBe(secret)
  nowMs += 9999
  expect(secrets.find(secret.value)).toBe(secret)
  nowMs += 1
  expect(secrets.find(secret.value)).toBeUndefined()
})

test("the oldest secrets are forgotten when there are too many; wrong requests name the field", () => {
  const secrets = new ClientSecrets({ limit: 2 })
  const [first, , third] = [secrets.create(undefined), secrets.create({}), secrets.create({})]
  expect(secrets.find(first.value)).toBeUndefined()
  expect(secrets.find(third!.value)).toBe(third)
  expect(() => secrets.create({ expires_after: { seconds: 9 } })).toThrow(/^client secret: expires_after\.seconds: /)
})
