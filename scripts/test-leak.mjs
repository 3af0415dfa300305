#!/usr/bin/env node
// npm run test:leak -- [--cycles N]: loads, erases, generates and disposes 2000 times over, and fails when the
// resident size grows from the second quarter to the last by more than a hundredth of what a copy of the model left by
// each cycle would take.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const MODEL_MIB = 0.9;
const SAMPLES = 40;
const { values } = parseArgs({ options: { cycles: { type: "string", default: "2000" } } });
const cycles = Number(values.cycles);
if (!(Number.isSafeInteger(cycles) && cycles >= SAMPLES)) {
  console.error(
    `Expected --cycles to be a whole number of at least ${SAMPLES} but received ${values.cycles}`,
  );
  process.exit(2);
}

const program = fileURLToPath(new URL("../test/support/programs/memory-of-cycles.mjs", import.meta.url));
const args = ["--expose-gc", program, String(cycles), String(Math.floor(cycles / SAMPLES))];
const { status, stdout } = spawnSync(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
if (status !== 0) process.exit(1);

const mebibytes = JSON.parse(stdout).map((bytes) => bytes / 2 ** 20);
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const growth = median(mebibytes.slice(-SAMPLES / 4)) - median(mebibytes.slice(SAMPLES / 4, SAMPLES / 2));
const allowed = (MODEL_MIB * cycles) / 100;
console.log(
  JSON.stringify({ cycles, growthMib: growth, allowedMib: allowed, mebibytes: mebibytes.map(Math.round) }),
);
if (growth > allowed) process.exitCode = 1;
