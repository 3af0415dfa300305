#!/usr/bin/env node
// Every check that needs no native build, each run to its end, so that one run shows all that is to be mended.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const bin = (name) => join("node_modules", ".bin", name);
const nativeSources = readdirSync("native", { recursive: true })
  .filter((name) => /\.(?:h|cpp)$/.test(name))
  .map((name) => join("native", name));

const checks = [
  ["clang-format", "clang-format", ["--dry-run", "-Werror", ...nativeSources]],
  ["eslint", bin("eslint"), ["--max-warnings", "0", "."]],
  ["prettier", bin("prettier"), ["--check", "--log-level", "warn", "."]],
  ["types", bin("tsc"), ["--noEmit"]],
  ["docs", bin("typedoc"), ["--emit", "none"]],
  ["layering", bin("jest"), ["--silent", "test/unit/layering.test.ts"]],
];

for (const [name, command, args] of checks) {
  const started = performance.now();
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${status === 0 ? "ok  " : "FAIL"} ${name} (${seconds} s)`);
  if (status === 0) continue;
  process.exitCode = 1;
  console.log(error ? `${command} could not start: ${error.message}` : `${stdout}${stderr}`.trimEnd());
}
