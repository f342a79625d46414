export { startWebEngine } from "./start.web.ts"
