/**
 * @file `npm run bench -- browser`: nano in Chromium beside Node.js, in turns within one run: loading from a server of this
 * machine, tokens and speech. Values are medians. Flags: --reps N, --devices wasm,wasm2,webgpu (wasm2 has two threads; a
 * software adapter takes minutes), --tokens N, --no-speech.
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ensureNano } from "../src/convert/index.node.ts"
import { Omni } from "../src/omni.node.ts"
import { bundleForBrowser } from "../test/browser/bundle.ts"
import { findChromium, openChromium, servePage } from "../test/browser/chromium.ts"
import { type Rates, rates } from "../test/browser/library-scenes.ts"
import { serveModels } from "../test/browser/model-server.ts"
import { type Bench, median } from "./harness.ts"

type Sample = Rates & { readonly loadMs: number }

export async function run(bench: Bench): Promise<void> {
  const chromium = findChromium()
  if (chromium === undefined) throw new Error("expected Chromium, got none (install Debian's package chromium)")
  const reps = Number(bench.flags.reps ?? 3)
  const devices = (bench.flags.devices ?? "wasm,wasm2").split(",")
  const tokens = Number(bench.flags.tokens ?? 64)
  const speak = bench.flags["no-speech"] === undefined
  const folder = await mkdtemp(join(tmpdir(), "omni-bench-"))
  try {
    const nano = await ensureNano(folder)
    const { files } = await bundleForBrowser("test/browser/library-page.ts", { asApplication: true })
    await using models = await serveModels({ nano })
    await using server = await servePage(files)
    await using browser = await openChromium(chromium)
    const inPage = async (device: string): Promise<Sample> => {
      const threads = device === "wasm2" ? 2 : 1
      const page = await browser.newPage()
      await page.goto(server.page({ isolated: threads > 1 }))
      const options = { device: device === "wasm2" ? "wasm" : device, threads }
      const given = JSON.stringify([models.address("ranges", "nano"), options, tokens, speak])
      const sample = (await page.evaluate(
        `import("./library-page.js").then((it) => it.measure(...${given}))`,
      )) as Sample
      await page.close()
      return sample
    }
    const inNode = async (): Promise<Sample> => {
      await using omni = await Omni.load(nano, { device: "cpu", quantize: "none" })
      return { loadMs: omni.info.loadMs, ...(await rates(omni, tokens, speak)) }
    }
    const samples = new Map<string, Sample[]>()
    for (let rep = 0; rep < reps; rep++) {
      for (const device of ["node", ...devices]) {
        const sample = device === "node" ? await inNode() : await inPage(device)
        samples.set(device, [...(samples.get(device) ?? []), sample])
        bench.note(`${device}: ${JSON.stringify(sample)}`)
      }
    }
    const units = { loadMs: "ms", tokensPerSecond: "tok/s", speechRate: "s/s", firstSoundMs: "ms" } as const
    for (const device of devices) {
      for (const name of (Object.keys(units) as (keyof typeof units)[]).slice(0, speak ? 4 : 2)) {
        const [own, peer] = [samples.get(device)!, samples.get("node")!].map((all) => all.map((one) => one[name]))
        const [value, peerValue] = [median(own!), median(peer!)]
        const row = { bench: `browser.${device}.${name}`, value, unit: units[name], samples: own! }
        bench.row({ ...row, peer: "Node.js", peerValue, ratio: value / peerValue })
      }
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}
