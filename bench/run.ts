/** @file `npm run bench -- NAME [--json] [--flag value …]`: runs one benchmark. */
import { spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { errorText } from "../src/util/index.ts"
import { type Bench, createBench } from "./harness.ts"

const SUFFIX = ".bench.ts"

/** `--name value` pairs and bare `--name`. */
function parseFlags(args: readonly string[]): { [name: string]: string | undefined } {
  const flags: { [name: string]: string | undefined } = {}
  for (let i = 0; i < args.length; i++) {
    const name = /^--(.+)$/.exec(args[i]!)?.[1]
    if (name === undefined) throw new Error(`expected flags, got ${args[i]}`)
    const value = args[i + 1]
    flags[name] = value === undefined || value.startsWith("--") ? "" : args[++i]
  }
  return flags
}

async function main([name, ...rest]: readonly string[]): Promise<void> {
  const names = readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
  if (name === undefined || !names.includes(name))
    throw new Error(`expected one of ${names.join(", ")}, got ${name ?? "nothing"}`)
  const flags = parseFlags(rest)
  const { run } = (await import(`./${name}${SUFFIX}`)) as { run: (bench: Bench) => Promise<void> }
  await run(createBench(flags.json !== undefined, flags))
}

/** What the omni command sets for its own process: weights in huge pages. The allocator reads it when a process starts. */
const HUGE_PAGES = { GLIBC_TUNABLES: "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1" }

if (process.platform === "linux" && process.env.GLIBC_TUNABLES === undefined) {
  const { status } = spawnSync(process.execPath, process.argv.slice(1), {
    stdio: "inherit",
    env: { ...process.env, ...HUGE_PAGES },
  })
  process.exitCode = status ?? 1
} else {
  try {
    await main(process.argv.slice(2))
  } catch (error) {
    console.error(errorText(error))
    process.exitCode = 1
  }
}
