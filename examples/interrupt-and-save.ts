/**
 * @file Interrupt an answer, keep what was heard of it, save the call, and go on with it in another process.
 *
 *   node examples/interrupt-and-save.ts call.bin "Tell me a long story."
 *   node examples/interrupt-and-save.ts call.bin "Now the end of it."
 *
 * The second command finds the file of the first and goes on; --model as in the other examples.
 */
import { existsSync } from "node:fs"
import { readFile, writeFile } from "node:fs/promises"
import { parseArgs } from "node:util"
import { Omni } from "omni"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { model: { type: "string", default: "nano" }, "heard-ms": { type: "string", default: "400" } },
})
const [file, text = "Hello!"] = positionals
if (file === undefined) throw new Error("expected the file to keep the call in")

await using omni = await Omni.load(values.model)
const saved = existsSync(file) ? await readFile(file) : undefined
console.error(saved ? `going on with ${file}` : "a new call")
await using call = omni.call({ seed: 1, maxNewTokens: 60, ...(saved ? { snapshot: saved } : {}) })

await call.push({ text })
let written = ""
let soundMs = 0
const heardMs = Number(values["heard-ms"])
for await (const event of call.respond({ speak: true })) {
  if (event.type === "text-delta") written += event.text
  if (event.type === "audio-delta") soundMs += (event.pcm.length / 24_000) * 1000
  // The user speaks up: leaving the loop stops the model after the step it is at.
  if (soundMs > heardMs) break
}

// The loudspeaker had played so much: the model keeps that, and forgets what nobody heard.
const { text: heard } = await call.interrupt({ heardMs: Math.min(heardMs, soundMs) })
console.log(JSON.stringify({ written, heard, soundMs: Math.round(soundMs) }))
await writeFile(file, await call.snapshot())
