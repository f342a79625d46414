export { type FolderSource, folderSink, openFolder } from "./folder.node.ts"
