/** @file The `omni` command: picks the subcommand, and turns errors into a line and an exit code. */
import { stripVTControlCharacters } from "node:util"
import { type ArgsDef, type CommandDef, defineCommand, renderUsage, runCommand } from "citty"
import packageJson from "../../package.json" with { type: "json" }
import { CheckpointError, ConfigError, errorText, InputError } from "../util/index.ts"
import { checkArguments } from "./flags.ts"
import { isReaderGone } from "./interrupt.ts"
import { suggestion } from "./suggest.ts"

// biome-ignore lint/suspicious/noExplicitAny: each command has arguments of its own, and citty's type is invariant
type Command = CommandDef<any>

/** Loaded when they are used: most need a model's code, and one of them a server's. */
const commands: { readonly [name: string]: () => Promise<Command> } = {
  chat: async () => (await import("./chat.ts")).chat,
  convert: async () => (await import("./convert.ts")).convert,
  doctor: async () => (await import("./doctor.ts")).doctor,
  init: async () => (await import("./init.ts")).init,
  live: async () => (await import("./live.ts")).live,
  models: async () => (await import("./models.ts")).models,
  pull: async () => (await import("./pull.ts")).pull,
  serve: async () => (await import("./serve.ts")).serve,
  speak: async () => (await import("./speak.ts")).speak,
  transcribe: async () => (await import("./transcribe.ts")).transcribe,
}

const omni = defineCommand({
  meta: { name: "omni", version: packageJson.version, description: "MiniCPM-o 2.6 on your own machine" },
  subCommands: { ...commands },
})

/** 2 for what the user can mend, 1 for everything else. */
function exitCode(error: unknown): number {
  return error instanceof ConfigError || error instanceof InputError || error instanceof CheckpointError ? 2 : 1
}

/** The help of a command; escape codes only for terminals that want them (no-color.org). */
async function help(command: CommandDef<ArgsDef> | undefined): Promise<string> {
  const usage = command ? await renderUsage(command, omni) : await renderUsage(omni)
  const isPlain = Boolean(process.env.NO_COLOR) || process.env.TERM === "dumb"
  return process.stdout.isTTY && !isPlain ? usage : stripVTControlCharacters(usage)
}

async function find(name: string): Promise<Command> {
  if (Object.hasOwn(commands, name)) return await commands[name]!()
  const known = Object.keys(commands)
  const hint = suggestion(name, known)
  throw new ConfigError(`command: expected ${known.join(", ")}, got ${name} (${hint}see omni --help)`)
}

async function main(rawArgs: readonly string[]): Promise<void> {
  const [name, ...rest] = rawArgs
  const flags = rawArgs.slice(0, rawArgs.includes("--") ? rawArgs.indexOf("--") : undefined)
  const wantsHelp = flags.includes("--help") || flags.includes("-h")
  if (flags.includes("--version") || name === "-v" || name === "-V") {
    console.log(packageJson.version)
  } else if (name === "help") {
    console.log(await help(rest[0] === undefined ? undefined : await find(rest[0])))
  } else if (name === undefined || name.startsWith("-")) {
    if (name !== undefined && !wantsHelp) await find(name)
    console.log(await help(undefined))
  } else {
    const command = await find(name)
    if (wantsHelp) {
      console.log(await help(command))
      return
    }
    checkArguments(name, rest, command.args as ArgsDef)
    await runCommand(command, { rawArgs: rest })
  }
}

// Nobody reading any more is no error; a full disk is.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error) => {
    if (!isReaderGone(error)) process.exitCode = 1
  })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  const message = errorText(error)
  if (process.argv.includes("--json")) console.log(JSON.stringify({ type: "error", message }))
  console.error(`omni: ${message}`)
  process.exitCode = exitCode(error)
}
