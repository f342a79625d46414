/**
 * @file `npm run parity -- DIR [--device reference|cpu|webgpu] [--only NAME,…]`: compares every golden case of a set with
 * what we compute, in exact float32.
 */
import { parseArgs } from "node:util"
import { createOrtNodeExecutor, useVulkanDriver } from "../src/runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../src/runtime/index.ts"
import { errorText } from "../src/util/index.ts"
import { matcher, runCases } from "../test/parity/runner.ts"

const USAGE = "npm run parity -- DIR [--device reference|cpu|webgpu] [--only NAME,…] [--threads N]"

function createExecutor(device: string, threads: number | undefined): Executor {
  if (device === "reference") return createReferenceExecutor()
  if (device === "webgpu") useVulkanDriver(process.env)
  if (device === "cpu" || device === "webgpu") return createOrtNodeExecutor({ device, threads })
  throw new Error(`--device: expected reference, cpu or webgpu, got ${device}`)
}

function threadsOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const threads = Number(text)
  if (!(Number.isInteger(threads) && threads > 0)) {
    throw new Error(`--threads: expected a whole number ≥ 1, got ${text}`)
  }
  return threads
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      device: { type: "string", default: "cpu" },
      only: { type: "string" },
      threads: { type: "string" },
    },
  })
  const [directory] = positionals
  if (positionals.length !== 1 || !directory)
    throw new Error(`expected one folder of goldens, got ${positionals.length} (${USAGE})`)
  await using executor = createExecutor(values.device, threadsOf(values.threads))
  const patterns = values.only?.split(",") ?? ["*"]
  const names: string[] = []
  let passed = 0
  let failed = 0
  for await (const result of runCases(directory, executor, matcher(patterns))) {
    names.push(result.name)
    if (result.ok) passed++
    else failed++
    const error = Number.isFinite(result.error) ? result.error.toExponential(2) : "differs"
    console.log(
      `${result.ok ? "ok  " : "FAIL"} ${result.name.padEnd(28)} ${error.padStart(9)} ${result.milliseconds.toFixed(0).padStart(7)} ms`,
    )
    for (const failure of result.failures.slice(0, 5)) console.log(`       ${failure}`)
    if (result.failures.length > 5) console.log(`       and ${result.failures.length - 5} more`)
  }
  for (const pattern of patterns) {
    if (names.some(matcher([pattern]))) continue
    failed++
    console.log(`FAIL ${pattern.padEnd(28)} ${"not run".padStart(9)}\n       no such case in ${directory}`)
  }
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(errorText(error))
  process.exitCode = 2
}
