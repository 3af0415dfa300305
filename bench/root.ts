import { join } from "node:path";

/** The repository's folder: this file is one level below it, and so is what it is bundled into. */
export const ROOT = join(__dirname, "..");
