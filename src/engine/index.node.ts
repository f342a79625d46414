export { DEVICES, QUANTIZE_KINDS } from "./messages.ts"
export { type EngineProcess, startEngineProcess } from "./process.node.ts"
export { startEngine } from "./start.node.ts"
