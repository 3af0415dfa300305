#!/usr/bin/env node
// Makes the prebuilt binaries from the checkout's build: node scripts/prebuild.mjs [--out DIR]
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makePrebuilds } from "./prebuild/make-prebuilds.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
try {
  const { values } = parseArgs({ options: { out: { type: "string", default: root } } });
  for (const { path, bytes, versions } of await makePrebuilds(root, values.out)) {
    const needs = Object.entries(versions).map(([set, version]) => `${set}_${version}`);
    console.log(`${relative(process.cwd(), path)}  ${Math.ceil(bytes / 1000)} kB, needs ${needs.join(", ")}`);
  }
} catch (error) {
  console.error(`\nNo prebuilds: ${error.message}`);
  process.exitCode = 1;
}
