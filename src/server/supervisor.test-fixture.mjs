/** @file An engine process that dies at once. */
process.exit(3)
