/** @file Ops against ONNX Runtime and finite differences. */
import { describe } from "vitest"
import { testCases } from "./harness.ts"
import { SHAPE } from "./shape.ts"

describe("shape ops", () => testCases(SHAPE))
