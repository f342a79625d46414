/** @file Which environment variables decide where models come from and lie. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { cacheFolder, hubCacheFolder, hubSettings, modelPlaces } from "./omni.models.node.ts"

const home = mkdtempSync(join(tmpdir(), "omni-home-"))
afterAll(() => rmSync(home, { recursive: true }))

test.each([
  [{}, join(homedir(), ".cache/huggingface/hub")],
  [{ XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
  [{ XDG_CACHE_HOME: "x" }, join(homedir(), ".cache/huggingface/hub")],
  [{ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }, "/h/hub"],
  [{ HF_HOME: "~/h" }, join(homedir(), "h/hub")],
  [{ HF_HOME: "/h", HF_HUB_CACHE: "/c" }, "/c"],
  [{ HF_HOME: "", HF_HUB_CACHE: "" }, join(homedir(), ".cache/huggingface/hub")],
])("%j: the cache is %s", (environment, want) => {
  expect(hubCacheFolder(environment)).toBe(want)
  expect(modelPlaces(environment).cacheFolder).toBe(want)
})

test("the token comes from the environment, else from the file that logging in leaves", async () => {
  expect(await hubSettings({ HF_HOME: home })).toEqual({
    ...{ endpoint: "https://huggingface.co", cacheFolder: join(home, "hub"), offline: false, token: undefined },
  })
  writeFileSync(join(home, "token"), "hf_file\n")
  writeFileSync(join(home, "other"), "hf_other")
  const token = async (more: object) => (await hubSettings({ HF_HOME: home, ...more })).token
  expect(await token({})).toBe("hf_file")
  expect(await token({ HF_TOKEN: "hf_env " })).toBe("hf_env")
  expect(await token({ HF_TOKEN: "" })).toBe("hf_file")
  expect(await token({ HF_TOKEN_PATH: join(home, "other") })).toBe("hf_other")
})

test("offline and endpoint", async () => {
  for (const yes of ["1", "true", "YES", "on"])
    expect((await hubSettings({ HF_HOME: home, HF_HUB_OFFLINE: yes })).offline).toBe(true)
  for (const no of ["", "0", "false"])
    expect((await hubSettings({ HF_HOME: home, HF_HUB_OFFLINE: no })).offline).toBe(false)
  expect((await hubSettings({ HF_HOME: home, HF_ENDPOINT: "http://mirror" })).endpoint).toBe("http://mirror")
})

test.each([
  ["/tmp/cache", "/tmp/cache/omni"],
  ["", join(homedir(), ".cache/omni")],
  ["relative", join(homedir(), ".cache/omni")],
  [undefined, join(homedir(), ".cache/omni")],
])("with XDG_CACHE_HOME=%s what can be made again lies in %s", (XDG_CACHE_HOME, want) => {
  expect(cacheFolder({ XDG_CACHE_HOME })).toBe(want)
})
