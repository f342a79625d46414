/** @file The `omni` command: picks the subcommand, and turns errors into a line and an exit code. */
import { type CommandDef, defineCommand, renderUsage, runCommand } from "citty"
import packageJson from "../../package.json" with { type: "json" }
import { CheckpointError, ConfigError, errorText, InputError } from "../util/index.ts"
import { chat } from "./chat.ts"
import { convert } from "./convert.ts"
import { init } from "./init.ts"

// biome-ignore lint/suspicious/noExplicitAny: each command has arguments of its own, and citty's type is invariant
const commands: { readonly [name: string]: CommandDef<any> } = { chat, convert, init }

const omni = defineCommand({
  meta: { name: "omni", version: packageJson.version, description: "MiniCPM-o 2.6 on your own machine" },
  subCommands: commands,
})

/** 2 for what the user can mend, 1 for everything else. */
function exitCode(error: unknown): number {
  const usage = error instanceof Error && error.name === "CLIError"
  return usage || error instanceof ConfigError || error instanceof InputError || error instanceof CheckpointError
    ? 2
    : 1
}

async function main(rawArgs: string[]): Promise<void> {
  const [name] = rawArgs
  if (name === "--version") {
    console.log(packageJson.version)
    return
  }
  const command = name !== undefined && Object.hasOwn(commands, name) ? commands[name] : undefined
  if (rawArgs.length === 0 || rawArgs.includes("--help") || rawArgs.includes("-h")) {
    console.log(command ? await renderUsage(command, omni) : await renderUsage(omni))
    return
  }
  if (!command)
    throw new ConfigError(`omni: expected ${Object.keys(commands).join(", ")}, got ${name} (see omni --help)`)
  await runCommand(command, { rawArgs: rawArgs.slice(1) })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  const json = process.argv.includes("--json")
  const message = errorText(error)
  if (json) console.log(JSON.stringify({ type: "error", message }))
  console.error(`omni: ${message}`)
  process.exitCode = exitCode(error)
}
