import { join } from "node:path";

/** Paths into a golden checkpoint of test/fixtures/golden, see the README there. */
export function golden(name: "small" | "wide", ...parts: string[]): string {
  // Both have the same tokenizer; it is kept once.
  const owner = parts[0] === "tokenizer" ? "small" : name;
  return join(__dirname, "..", "fixtures", "golden", owner, ...parts);
}

/** Paths into the built-in model. */
export function pocket(...parts: string[]): string {
  return join(__dirname, "..", "..", "models", "pocket", ...parts);
}
