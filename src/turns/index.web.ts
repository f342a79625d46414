export { openSileroFrom } from "./silero.web.ts"
