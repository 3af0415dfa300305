#!/usr/bin/env node
// npm run test:kill -- [--kills N]: ends an erasure by SIGKILL at a random moment, resumes it, and compares the bits
// of what comes out with those of a run that nothing happened to; 50 times over. Exit 1 at the first difference.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeTinyModel } from "../test/support/programs/tiny-model.mjs";

const ITERATIONS = 6;
const program = fileURLToPath(new URL("../test/support/programs/erase-and-resume.mjs", import.meta.url));
const { values } = parseArgs({ options: { kills: { type: "string", default: "50" } } });
const kills = Number(values.kills);
if (!(Number.isSafeInteger(kills) && kills > 0)) {
  console.error(`Expected --kills to be a whole number above 0 but received ${values.kills}`);
  process.exit(2);
}

const model = await writeTinyModel();
const folder = () => mkdtempSync(join(tmpdir(), "kpop-kill-"));
const whole = await run(folder());
const first = whole.first;
let between = 0;
for (let round = 1; round <= kills; round++) {
  const state = folder();
  const moment = { after: Math.floor(Math.random() * ITERATIONS), share: Math.random() };
  const words = `${moment.share.toFixed(3)} of an iteration after iteration ${moment.after}`;
  const killed = await run(state, moment);
  if (killed.signal !== "SIGKILL") {
    // It was faster than the iteration before: nothing was tested.
    round--;
    continue;
  }
  if (killed.reached > 0) between++;
  const resumed = await run(state);
  if (resumed.code !== 0 || resumed.result !== whole.result) {
    console.error(`killed ${words}, the run came to something else:\n${resumed.result}\n${resumed.stderr}`);
    console.error(`whole:\n${whole.result}\nstate: ${state}`);
    process.exit(1);
  }
  rmSync(state, { recursive: true, force: true });
  process.stderr.write(`${round} of ${kills}: killed ${words}, resumed to the same bits\n`);
}
console.log(
  JSON.stringify({ kills, afterAnIteration: between, beforeTheFirst: kills - between, different: 0 }),
);

/** Runs to the end, or to a share of an iteration (before the first: of what it took the whole run to get there). */
function run(directory, moment) {
  const child = spawn(process.execPath, [program, model, directory, ITERATIONS], {
    stdio: ["ignore", "pipe", "pipe"],
    // A model this small gains nothing from more.
    env: { ...process.env, OMP_NUM_THREADS: "1" },
  });
  const started = performance.now();
  const outcome = { code: null, signal: null, result: "", stderr: "", reached: 0, first: 0 };
  const killIn = (milliseconds) => setTimeout(() => child.kill("SIGKILL"), moment.share * milliseconds);
  let timer = moment?.after === 0 ? killIn(first) : undefined;
  child.stderr.setEncoding("utf8").on("data", (text) => (outcome.stderr += text));
  createInterface({ input: child.stdout }).on("line", (line) => {
    outcome.result = line;
    const [iteration, milliseconds] = line.split(" ").map(Number);
    if (Number.isNaN(iteration)) return;
    outcome.first ||= performance.now() - started;
    outcome.reached = iteration;
    if (moment !== undefined && iteration === moment.after) timer = killIn(milliseconds);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ ...outcome, code, signal });
    });
  });
}
