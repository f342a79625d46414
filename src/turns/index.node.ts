export { openSilero } from "./silero.node.ts"
