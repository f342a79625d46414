/** @file Ops against ONNX Runtime and finite differences. */
import { describe } from "vitest"
import { testCases } from "./harness.ts"
import { ATTENTION, CONVOLUTIONS, PRODUCTS } from "./linear.ts"

describe("linear ops", () => testCases({ ...PRODUCTS, ...CONVOLUTIONS, ...ATTENTION }))
