/** @file Starts the page. */
import "./no-eval.ts"
import "./styles/base.css"
import "./styles/controls.css"
import "./styles/call.css"
import "./styles/chat.css"
import "./styles/markdown.css"
import { createRoot } from "react-dom/client"
import { App } from "./app.tsx"

createRoot(document.getElementById("root")!).render(<App />)
