import { join } from "node:path";
import { temporaryDirectory } from "./temporary-directory";

const VARIABLES = [
  "HF_ENDPOINT",
  "HF_HOME",
  "HF_HUB_CACHE",
  "HF_HUB_DISABLE_IMPLICIT_TOKEN",
  "HF_HUB_OFFLINE",
  "HF_TOKEN",
  "HF_TOKEN_PATH",
  "HUGGINGFACE_HUB_CACHE",
  "HUGGING_FACE_HUB_TOKEN",
  "TRANSFORMERS_OFFLINE",
];

const before = VARIABLES.map((name) => [name, process.env[name]] as const);

/** Sets this process up for a hub of the tests, with an empty cache, and no token but the one given. @returns the cache */
export function useHub(url: string, token?: string): string {
  const cache = join(temporaryDirectory(), "hub");
  for (const name of VARIABLES) delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: url, HF_HUB_CACHE: cache, HF_TOKEN_PATH: "/nowhere" });
  if (token !== undefined) process.env["HF_TOKEN"] = token;
  return cache;
}

/** Sets it up as it was. */
export function leaveHub(): void {
  for (const [name, value] of before) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}
