/**
 * @file `npm test`: everything that CI runs. Format and lint, types, then all test files; the last line counts them:
 * `N passed, N failed, N skipped`, where format and each type check are one. Exit code 1 when anything failed.
 */
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { startVitest, type TestCase, type TestModule } from "vitest/node"

type Count = { passed: number; failed: number; skipped: number }
type Outcome = Pick<TestCase, "fullName"> & {
  result(): Pick<ReturnType<TestCase["result"]>, "state"> & { note?: string | undefined }
}

const ROOT = join(import.meta.dirname, "..")

/** Runs an installed JavaScript command under this Node.js, its output shown as it comes. */
function runStep(name: string, script: string, args: readonly string[]): Count {
  console.log(`\n> ${name}`)
  const { status } = spawnSync(process.execPath, [join(ROOT, "node_modules", script), ...args], {
    cwd: ROOT,
    stdio: "inherit",
  })
  console.log(status === 0 ? `ok ${name}` : `FAIL ${name}`)
  return { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0 }
}

/** Why a test was skipped: `ctx.skip(reason)`, or what `skipUnless` wrote behind the suite's name. */
function skipReason(test: Outcome): string {
  return (
    test.result().note ?? /\[skipped: (.+?)\](?: |$)/.exec(test.fullName)?.[1] ?? `no reason given: ${test.fullName}`
  )
}

/** Counts tests by outcome; a test that never finished has failed. */
export function countTests(tests: Iterable<Outcome>): Count & { reasons: Map<string, number> } {
  const count = { passed: 0, failed: 0, skipped: 0, reasons: new Map<string, number>() }
  for (const test of tests) {
    const { state } = test.result()
    if (state === "passed") count.passed++
    else if (state === "skipped") {
      count.skipped++
      const reason = skipReason(test)
      count.reasons.set(reason, (count.reasons.get(reason) ?? 0) + 1)
    } else count.failed++
  }
  return count
}

/** A file that does not load, or whose hooks fail, has no failed test of its own: it counts as one. */
function failedBesideTests(modules: readonly TestModule[]): number {
  const suites = modules.flatMap((module) => [module, ...module.children.allSuites()])
  return suites.filter((suite) => suite.errors().length > 0).length
}

async function runTests(filters: string[]): Promise<Count> {
  console.log("\n> tests")
  const vitest = await startVitest("test", filters, { root: ROOT, watch: false, run: true })
  const modules = vitest.state.getTestModules()
  const count = countTests(modules.flatMap((module) => [...module.children.allTests()]))
  const strays = failedBesideTests(modules) + vitest.state.getUnhandledErrors().length
  await vitest.close()
  for (const [reason, tests] of count.reasons) console.log(`skipped ${tests}: ${reason}`)
  const nothing = modules.length === 0 ? 1 : 0
  return { passed: count.passed, failed: count.failed + strays + nothing, skipped: count.skipped }
}

async function main(): Promise<void> {
  const steps = [
    runStep("format and lint", "@biomejs/biome/bin/biome", ["check", "--error-on-warnings", "."]),
    runStep("types", "typescript/bin/tsc", ["-p", "."]),
    runStep("types of the page", "typescript/bin/tsc", ["-p", "web"]),
    await runTests(process.argv.slice(2)),
  ]
  const sum = (key: keyof Count) => steps.reduce((total, step) => total + step[key], 0)
  console.log(`\n${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`)
  process.exitCode = sum("failed") > 0 ? 1 : 0
}

if (import.meta.main) await main()
