#!/usr/bin/env node
// Rebuilds what changed and runs the fast tests, now and after every change of a source file.
import { spawnSync } from "node:child_process";
import { watch } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SETTLE_MS = 150;
const WATCHED = ["lib", "native", "typings", "test", "examples"];

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const run = (command, args) => spawnSync(command, args, { stdio: "inherit" }).status === 0;

function round() {
  console.clear();
  if (run(process.execPath, ["scripts/setup.mjs"])) run(join("node_modules", ".bin", "jest"), ["test/unit"]);
  console.log("\nwaiting for a change (Ctrl-C ends)");
}

let timer;
for (const folder of WATCHED) {
  try {
    watch(folder, { recursive: true }, () => {
      clearTimeout(timer);
      timer = setTimeout(round, SETTLE_MS);
    });
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
}
round();
