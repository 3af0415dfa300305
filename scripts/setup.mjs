#!/usr/bin/env node
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const libtorch = process.env.KPOP_LIBTORCH;
if (!libtorch) throw new Error("Set KPOP_LIBTORCH to a libtorch directory");
for (const command of ["configure", "build"]) {
  const { status } = spawnSync("npx", ["cmake-js", command, `--CDKPOP_LIBTORCH=${libtorch}`], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}
