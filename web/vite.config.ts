/** @file How the page is built. `npx vite web` serves it while it is edited, beside an `omni serve` on port 8000. */
import { defineConfig } from "vite"

const SERVER = "http://127.0.0.1:8000"

export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  clearScreen: false,
  // Whatever the environment says (test runners say "test"), visitors get React's production build.
  define: { "process.env.NODE_ENV": '"production"' },
  oxc: { jsx: { runtime: "automatic", development: false } },
  // Worklets become files of their own, complete, which the content policy allows.
  worker: { format: "es" },
  build: {
    target: "es2023",
    // Browsers that know light-dark(): what it is lowered to for older ones does not follow color-scheme inside the page.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    assetsInlineLimit: 0,
    // One file of 160 KB compressed, from the machine itself: pieces of it would come later, not sooner.
    chunkSizeWarningLimit: 600,
    modulePreload: { polyfill: false },
    emptyOutDir: true,
  },
  server: { host: "127.0.0.1", proxy: { "/v1": { target: SERVER, ws: true }, "/health": SERVER } },
})
