/** @file Starts the page. */
import { createRoot } from "react-dom/client"
import { z } from "zod"

// zod's code generator would need eval, which the content policy forbids.
z.config({ jitless: true })

createRoot(document.getElementById("root")!).render(<main>omni</main>)
