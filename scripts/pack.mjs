#!/usr/bin/env node
// Packs the package with its prebuilds and checks it: node scripts/pack.mjs --out DIR [--json]
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeTarball } from "./release/make-tarball.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
try {
  const { values } = parseArgs({ options: { out: { type: "string" }, json: { type: "boolean" } } });
  if (values.out === undefined) throw new Error("say with --out where the tarball is to go");
  const tarball = await makeTarball(root, values.out);
  if (values.json) console.log(JSON.stringify(tarball));
  else console.log(`${tarball.path}  ${(tarball.bytes / 1e6).toFixed(1)} MB, ${tarball.files.length} files`);
  if (tarball.faults.length > 0) throw new Error(["the package has faults:", ...tarball.faults].join("\n  "));
} catch (error) {
  console.error(`\nNo package: ${error.message}`);
  process.exitCode = 1;
}
