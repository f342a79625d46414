/**
 * @file Ask a question about a picture, read the answer while it is written.
 *
 *   node examples/chat-with-image.ts photo.png "What is this?" --model openbmb/MiniCPM-o-2_6
 *
 * Without --model it is nano, which comes with the program. In a project of your own: `npm install omni`, the same code.
 */
import { parseArgs } from "node:util"
import { Omni } from "omni"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { model: { type: "string", default: "nano" }, "max-tokens": { type: "string", default: "200" } },
})
const [image, question = "What do you see?"] = positionals
if (image === undefined) throw new Error("expected the path of a picture")

await using omni = await Omni.load(values.model, {
  onProgress: ({ stage, fraction }) => process.stderr.write(`\r${stage} ${Math.round(fraction * 100)} % `),
})
process.stderr.write(`\r${omni.info.name} on ${omni.info.device}, ${omni.info.quantize}\n`)

const answer = omni.chat([{ role: "user", content: [{ image }, question] }], {
  maxNewTokens: Number(values["max-tokens"]),
})
for await (const event of answer) {
  if (event.type === "text-delta") process.stdout.write(event.text)
  if (event.type === "turn-end") {
    const { prefillMs, firstTextMs } = event.timings
    console.log()
    console.error(
      `${event.promptTokens} positions read in ${prefillMs.toFixed(0)} ms, first text after ${firstTextMs?.toFixed(0)} ms`,
    )
  }
}
