export { DEVICES, QUANTIZE_KINDS } from "./messages.ts"
export { startEngine } from "./start.node.ts"
