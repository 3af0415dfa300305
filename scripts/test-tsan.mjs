#!/usr/bin/env node
// npm run test:tsan -- [--rounds N]: the queue and the values that the add-on's threads share, under ThreadSanitizer.
// libtorch and Node are not built for it, so these parts stand alone: test/native/worker_queue.cpp.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const { values } = parseArgs({ options: { rounds: { type: "string", default: "20000" } } });
const folder = "build-tsan";
const program = join(folder, "worker_queue");
const sources = ["test/native/worker_queue.cpp", "native/bindings/worker.cpp"];
const flags = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=thread", "-Inative", "-pthread"];

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit", env: { ...process.env, ...env } });
  if (error) console.error(`${command} could not start: ${error.message}`);
  if (status !== 0) process.exit(1);
}

mkdirSync(folder, { recursive: true });
run(process.env.CXX ?? "g++", [...flags, ...sources, "-o", program]);
run(program, [values.rounds], { TSAN_OPTIONS: "halt_on_error=1" });
