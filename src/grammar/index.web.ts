export { loadXgrammar } from "./xgrammar.web.ts"
