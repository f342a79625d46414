/** @file Imported first: zod's code generator would need eval, which the content policy forbids. */
import { z } from "zod"

z.config({ jitless: true })
