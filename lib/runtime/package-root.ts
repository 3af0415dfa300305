import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { KpopError } from "../errors";

/** The package's own folder, found from this file, which runs from lib/ in tests and from dist/ when installed. */
export function packageRoot(): string {
  for (let folder = __dirname; ; folder = dirname(folder)) {
    const manifest = join(folder, "package.json");
    if (existsSync(manifest) && isOurs(manifest)) return folder;
    if (folder === dirname(folder)) break;
  }
  throw new KpopError(
    "ADDON_MISSING",
    `No package.json of kpop-native stands above ${__dirname}; keep kpop-native out of bundles, as an external package`,
  );
}

function isOurs(manifest: string): boolean {
  const content = JSON.parse(readFileSync(manifest, "utf8")) as { name?: unknown };
  return content.name === "kpop-native";
}
