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

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      device: { type: "string", default: "cpu" },
      only: { type: "string" },
      threads: { type: "string" },
      json: { type: "boolean", default: false },
    },
  })
  const [directory] = positionals
  if (positionals.length !== 1 || !directory)
    throw new Error(`expected one folder of goldens, got ${positionals.length} (${USAGE})`)
  await using executor = createExecutor(values.device, values.threads ? Number(values.threads) : undefined)
  const selected = values.only ? matcher(values.only.split(",")) : () => true
  let passed = 0
  let failed = 0
  for await (const result of runCases(directory, executor, selected)) {
    if (result.ok) passed++
    else failed++
    const error = Number.isFinite(result.error) ? result.error.toExponential(2) : "differs"
    console.log(
      `${result.ok ? "ok  " : "FAIL"} ${result.name.padEnd(28)} ${error.padStart(9)} ${result.milliseconds.toFixed(0).padStart(7)} ms`,
    )
    for (const failure of result.failures.slice(0, 5)) console.log(`       ${failure}`)
    if (result.failures.length > 5) console.log(`       and ${result.failures.length - 5} more`)
  }
  console.log(`${passed} passed, ${failed} failed`)
  // An empty selection proves nothing.
  return failed === 0 && passed > 0 ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(errorText(error))
  process.exitCode = 2
}
