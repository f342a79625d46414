/**
 * @file `npm run soak [NAME…] [--minutes N] [--json]`: long runs that must not fail, leak or slow down; all of them, or those
 * named. Each `*.soak.ts` beside this file exports `name` and `run`, which prints figures and throws when something is wrong.
 */
import { readdirSync } from "node:fs"
import { errorText } from "../../src/util/index.ts"
import { type Bench, createBench } from "../harness.ts"

const SUFFIX = ".soak.ts"

/** What a run gets. */
export type Soak = Pick<Bench, "row" | "note"> & {
  /** Wished length; each run has its own when absent, and shortens what it simulates in proportion. */
  readonly minutes: number | undefined
}

export type SoakFile = { readonly name: string; readonly run: (soak: Soak) => Promise<void> }

type Wishes = { readonly names: readonly string[]; readonly minutes: number | undefined; readonly json: boolean }

export function parseWishes(args: readonly string[]): Wishes {
  const names: string[] = []
  let minutes: number | undefined
  let json = false
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!
    if (arg === "--json") json = true
    else if (arg === "--minutes") {
      minutes = Number(args[++i])
      if (!(minutes > 0)) throw new Error(`--minutes: expected a number > 0, got ${args[i] ?? "nothing"}`)
    } else if (arg.startsWith("-")) throw new Error(`expected names, --minutes N or --json, got ${arg}`)
    else names.push(arg)
  }
  return { names, minutes, json }
}

async function main(args: readonly string[]): Promise<void> {
  const { names, minutes, json } = parseWishes(args)
  const files = readdirSync(import.meta.dirname).filter((file) => file.endsWith(SUFFIX))
  const all: SoakFile[] = []
  for (const file of files.sort()) {
    all.push((await import(`./${file.slice(0, -SUFFIX.length)}.soak.ts`)) as SoakFile)
  }
  const unknown = names.find((wanted) => !all.some(({ name }) => name === wanted))
  if (unknown !== undefined) {
    throw new Error(`expected some of ${all.map(({ name }) => name).join(", ")}, got ${unknown}`)
  }
  const bench = createBench(json, {})
  const failed: string[] = []
  for (const { name, run } of all) {
    if (names.length > 0 && !names.includes(name)) continue
    bench.note(`\n> ${name}`)
    try {
      await run({ row: bench.row, note: bench.note, minutes })
      bench.note(`ok ${name}`)
    } catch (error) {
      failed.push(name)
      console.error(`FAIL ${name}: ${errorText(error)}`)
    }
  }
  if (failed.length > 0) throw new Error(`failed: ${failed.join(", ")}`)
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2))
  } catch (error) {
    console.error(errorText(error))
    process.exitCode = 1
  }
}
