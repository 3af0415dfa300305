#!/usr/bin/env node
// What a second shard brings on this machine: the built-in model's pictures by one process of one thread, and by two, each
// of one thread. Says how busy the machine was; other programs take from both.
//   node scripts/measure-shards.mjs [pictures]
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
const count = Number(process.argv[2] ?? 128);
const folder = mkdtempSync(join(tmpdir(), "kpop-shards-"));

function generate(name, shard) {
  const args = [
    "generate",
    "pocket",
    "--prompt",
    "a photo of a church",
    "--count",
    String(count),
    "--steps",
    "20",
  ];
  const child = spawn(
    process.execPath,
    [program, ...args, "--shard", shard, "--out", join(folder, name, "p.png")],
    {
      env: { ...process.env, OMP_NUM_THREADS: "1" },
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`a shard ended with ${code}`))));
  });
}

async function seconds(name, ...shards) {
  mkdirSync(join(folder, name));
  const started = performance.now();
  await Promise.all(shards.map((shard) => generate(name, shard)));
  return (performance.now() - started) / 1000;
}

const pictures = (name) =>
  readdirSync(join(folder, name))
    .filter((file) => file.endsWith(".png"))
    .map((file) => readFileSync(join(folder, name, file), "base64"))
    .join();

try {
  const load = loadavg()[0];
  // The one before and after the two, so that a machine that slows down or gets faster is seen.
  const before = await seconds("before", "0/1");
  const both = await seconds("both", "0/2", "1/2");
  const after = await seconds("after", "0/1");
  if (pictures("both") !== pictures("before"))
    throw new Error("the shards' pictures differ from those of one process");
  const one = (before + after) / 2;
  const [cores, words] = [availableParallelism(), `${before.toFixed(1)} and ${after.toFixed(1)} s`];
  console.log(`${count} pictures, ${cores} cores, load ${load.toFixed(1)} before`);
  console.log(
    `one shard ${words}, two ${both.toFixed(1)} s: ${(one / both).toFixed(2)} times as fast, the same bytes`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
