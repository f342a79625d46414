/** @file Ops against ONNX Runtime and finite differences. */
import { describe } from "vitest"
import { testCases } from "./harness.ts"
import { REDUCE } from "./reduce.ts"

describe("reduce ops", () => testCases(REDUCE))
