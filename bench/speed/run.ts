/**
 * Speed: runs trials, each in a process of its own, ours and the peer's by turns, and writes results.json and tables.md.
 *
 *     npm run bench -- speed [TRIAL ...] [--rounds N] [--out DIR]
 *
 * The peer is Python with torch, diffusers and safetensors: KPOP_PYTHON, or python3. Without it only our side runs.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { arch, cpus, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { prepareLoad } from "./cases/load";
import { median, type Measurement, type Trial } from "./trial";
import { TRIALS } from "./trials";

interface Result {
  trial: Trial;
  ours: Measurement[];
  peer: Measurement[];
}

/** @param program what runs one trial when it is given `speed --trial NAME` */
export async function speed(args: readonly string[], program: string): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "3" },
      out: { type: "string" },
      trial: { type: "string" },
    },
  });
  if (values.trial !== undefined) {
    const trial = find(values.trial);
    process.stdout.write(`${JSON.stringify(await trial.run())}\n`);
    return;
  }
  const asked = Number(values.rounds);
  if (!Number.isInteger(asked) || asked < 1) fail(`--rounds takes a whole number from 1, not ${values.rounds}`);
  const trials = positionals.length === 0 ? TRIALS : positionals.map(find);
  const date = new Date().toISOString().slice(0, 10);
  const out = values.out ?? join("bench", "results", `${date}-speed`);
  mkdirSync(out, { recursive: true });
  const python = findPython();
  if (python === null)
    console.error("No Python with torch, diffusers and safetensors: only our side runs (set KPOP_PYTHON).");
  if (trials.some(({ name }) => name.startsWith("load"))) await prepareLoad();

  const results: Result[] = [];
  for (const trial of trials) {
    const result: Result = { trial, ours: [], peer: [] };
    // A whole run is its own repetition.
    const rounds = trial.peer === undefined ? 1 : asked;
    for (let round = 0; round < rounds; round++) {
      result.ours.push(measure(process.execPath, [program, "speed", "--trial", trial.name]));
      if (trial.peer !== undefined && python !== null) {
        const script = join("bench", "speed", "peers", trial.peer.script);
        result.peer.push(measure(python, [script, ...trial.peer.arguments]));
      }
      console.error(`${trial.name}: round ${round + 1} of ${rounds}`);
    }
    results.push(result);
    const content = { date, machine: machine(), results };
    writeFileSync(join(out, "results.json"), `${JSON.stringify(content, null, 2)}\n`);
    writeFileSync(join(out, "tables.md"), tables(date, results));
  }
  console.log(tables(date, results));
}

function find(name: string): Trial {
  const trial = TRIALS.find((candidate) => candidate.name === name);
  return trial ?? fail(`No trial is named ${name}; there are ${TRIALS.map((t) => t.name).join(", ")}`);
}

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

function findPython(): string | null {
  const python = process.env["KPOP_PYTHON"] ?? "python3";
  return spawnSync(python, ["-c", "import torch, diffusers, safetensors"]).status === 0 ? python : null;
}

function measure(program: string, args: string[]): Measurement {
  const output = execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  return JSON.parse(output.trim().split("\n").at(-1)!) as Measurement;
}

function machine(): object {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model,
    cores: cpus().length,
    arch: arch(),
    memory: totalmem(),
    node: process.versions.node,
  };
}

/** Ratios are the peer's seconds over ours, round by round: above 1 we are faster. */
function tables(date: string, results: readonly Result[]): string {
  const lines = [`# ${date}`, ""];
  for (const { trial, ours, peer } of results) {
    lines.push(`## ${trial.title}`, "", "| figure | ours | peer | peer / ours |", "|---|---|---|---|");
    for (const name of Object.keys(ours[0]!.seconds)) {
      const mine = ours.map((m) => m.seconds[name]!);
      const theirs = peer.map((m) => m.seconds[name]!);
      const ratio = theirs.length === 0 ? "" : median(theirs.map((value, i) => value / mine[i]!)).toFixed(2);
      lines.push(
        `| ${name}, s | ${median(mine).toFixed(3)} | ${theirs.length === 0 ? "" : median(theirs).toFixed(3)} | ${ratio} |`,
      );
    }
    const peak = (side: readonly Measurement[]): string =>
      side.length === 0 ? "" : `${(median(side.map((m) => m.peakBytes)) / 2 ** 20).toFixed(0)} MiB`;
    lines.push(`| peak resident size | ${peak(ours)} | ${peak(peer)} | |`);
    for (const [name, value] of Object.entries(ours[0]!.figures ?? {}))
      lines.push(`| ${name} | ${value.toPrecision(4)} | | |`);
    lines.push("");
  }
  return lines.join("\n");
}
