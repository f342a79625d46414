/** @file The elementwise ops against ONNX Runtime and finite differences. */
import { describe } from "vitest"
import { ELEMENTWISE } from "./elementwise.ts"
import { testCases } from "./harness.ts"

describe("elementwise ops", () => testCases(ELEMENTWISE))
