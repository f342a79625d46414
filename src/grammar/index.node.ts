export { loadXgrammar } from "./xgrammar.node.ts"
