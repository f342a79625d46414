/** @file `omni doctor` from outside: what it prints, and its exit codes. */
import { expect, test } from "vitest"
import { omni, temporaryFolders } from "./cli.test-util.ts"

const temporary = temporaryFolders()

test("says what it found, as text and as one object; a model that is not there is code 1", async () => {
  const at = { env: { HF_HOME: temporary(), HF_HUB_CACHE: "" } }
  const [people, machine] = await Promise.all([
    omni(["doctor"], at),
    omni(["doctor", "--model", "org/none", "--json"], at),
  ])
  expect(people).toMatchObject({ code: 0, stderr: "" })
  for (const line of [
    "processor ",
    "memory ",
    "node ",
    "launcher ",
    "device      cpu: works",
    "device      webgpu: ",
    "model ",
    "disk ",
    "program     ffmpeg: ",
    "models ",
    "verdict     can run",
  ])
    expect(people.stdout).toMatch(new RegExp(`^${line}`, "m"))
  expect(machine.code).toBe(1)
  expect(JSON.parse(machine.stdout)).toMatchObject({
    ...{ type: "doctor", canChat: false, model: { name: "org/none", plans: [] } },
    problems: [expect.stringContaining("org/none: expected a folder of that name")],
    devices: [{ device: "cpu", probe: { activationBits: expect.any(Number) } }, { device: "webgpu" }],
  })
})
