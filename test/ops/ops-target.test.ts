/** @file Ops against ONNX Runtime and finite differences. */
import { describe } from "vitest"
import { testCases } from "./harness.ts"
import { TARGET } from "./target.ts"

describe("target ops", () => testCases(TARGET))
