#!/usr/bin/env node
// What prebuildify runs in place of node-gyp. prebuildify takes the first .node of ./build/Release, so it is given a
// folder of its own for each native file: the folder's name says which target CMake is to build.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const target = basename(process.cwd());
const { status } = spawnSync(
  join(root, "node_modules", ".bin", "cmake-js"),
  ["build", "--directory", root, "--target", target, "--log-level", "warn"],
  // The standard output belongs to the script that is running.
  { stdio: ["ignore", process.stderr, "inherit"] },
);
if (status !== 0) process.exit(1);

const output = join("build", "Release");
mkdirSync(output, { recursive: true });
// With its time: a local build counts as newer than the prebuilds only when it was made after them.
cpSync(join(root, "build", "Release", `${target}.node`), join(output, `${target}.node`), {
  preserveTimestamps: true,
});
