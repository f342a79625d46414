/** @file Test settings. Two workers at most: model tests fill the memory bandwidth of small machines. */
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["{src,test,bench,scripts,web}/**/*.test.ts"],
    testTimeout: 60_000, // software drivers are slow on busy machines
    hookTimeout: 60_000,
    expect: { poll: { timeout: 25_000 } },
    pool: "forks",
    maxWorkers: 2,
  },
})
