/**
 * @file How Vite serves and builds the example; an application that has omni installed needs `worker` and `optimizeDeps` alone.
 */
import { join } from "node:path"
import { defineConfig } from "vite"
import { serveModel } from "./serve-model.ts"

export default defineConfig({
  root: import.meta.dirname,
  worker: { format: "es" },
  optimizeDeps: { exclude: ["omni"] },
  // In this repository the package is its own neighbour.
  resolve: { alias: { "omni/web": join(import.meta.dirname, "../../src/omni.web.ts") } },
  plugins: [serveModel(process.env.MODEL)],
})
