#!/usr/bin/env node
// npm run fuzz -- [--cases N] [--seed N]: right and wrong safetensors files by the million, each read by the library
// and judged by the format's specification (test/support/safetensors-fuzz.ts). A report as JSON; exit 1 at the first
// difference, which names its seed and case.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const { values } = parseArgs({
  options: { cases: { type: "string", default: "1000000" }, seed: { type: "string", default: "2" } },
});
const [cases, seed] = [values.cases, values.seed].map(Number);
if (!(Number.isSafeInteger(cases) && cases > 0 && Number.isSafeInteger(seed))) {
  console.error(
    `Expected --cases and --seed to be whole numbers but received ${values.cases} and ${values.seed}`,
  );
  process.exit(2);
}

const out = join("build", "fuzz");
const source = join("test", "support", "safetensors-fuzz.ts");
const options = ["--no-config", "--silent", "--format", "cjs", "--target", "node20", "--out-dir", out];
const { status } = spawnSync(join("node_modules", ".bin", "tsup"), [source, ...options], {
  stdio: "inherit",
});
if (status !== 0) process.exit(1);

const { fuzzHeaders, openFiles, MOST_MS, MOST_MIB, LONGEST_MESSAGE } = createRequire(import.meta.url)(
  join(process.cwd(), out, "safetensors-fuzz.js"),
);
const files = openFiles();
const report = await fuzzHeaders({
  ...{ seed, cases },
  onProgress: (done) => process.stderr.isTTY && process.stderr.write(`\r${done} of ${cases}`),
});
console.log(JSON.stringify({ seed, ...report }, null, 2));
const bounded =
  report.slowestMs < MOST_MS &&
  report.growthMib < MOST_MIB &&
  report.longestMessage < LONGEST_MESSAGE &&
  openFiles() === files;
if (!bounded) {
  console.error(
    `Above the bounds: ${MOST_MS} ms, ${MOST_MIB} MiB, ${LONGEST_MESSAGE} characters, no file left open`,
  );
  process.exitCode = 1;
}
