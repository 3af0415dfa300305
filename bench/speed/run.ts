import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newCommand, parseCommand } from "../command";
import { integer, oneOf } from "../flags";
import { machine } from "../machine";
import { examinePeer, PYTHON } from "../peer";
import { runTrials, type Command, type RunnerOptions, type Trial } from "../runner";
import { median } from "../statistics";
import type { Measurement, SpeedCase } from "./case";
import { CASES } from "./cases";

const NAMES = CASES.map(({ name }) => name);

interface Result {
  trial: SpeedCase;
  ours: Measurement[];
  peer: Measurement[];
}

interface Flags {
  rounds: number;
  out?: string;
}

/**
 * Speed: ours and the peer's by turns, each measurement in a process of its own; results.json and tables.md are written
 * after every case. Without the peer's Python only our side runs.
 * @param own the command that measures a case
 * @returns the process's exit code: 0 done, 1 some cases failed, 130 interrupted
 */
export async function speed(
  args: readonly string[],
  own: (name: string) => Command,
  { signal, say }: Pick<RunnerOptions, "signal" | "say">,
): Promise<number> {
  const { cases, rounds, out: given } = parseArguments(args);
  const date = new Date().toISOString().slice(0, 10);
  const out = given ?? join("bench", "results", `${date}-speed`);
  mkdirSync(out, { recursive: true });
  const peer = "versions" in examinePeer(["torch", "diffusers", "safetensors"]);
  if (!peer) say("No Python with torch, diffusers and safetensors: only our side runs (set KPOP_PYTHON).");
  for (const prepare of new Set(cases.map((of) => of.prepare))) await prepare?.();

  const results: Result[] = [];
  const trials = cases.map((of): Trial<Result> => ({
    name: of.name,
    async run(start) {
      const result: Result = { trial: of, ours: [], peer: [] };
      // A whole run is its own repetition.
      for (let round = 0; round < (of.peer === undefined ? 1 : rounds); round++) {
        result.ours.push(await start(own(of.name)));
        if (of.peer !== undefined && peer) {
          const script = join("bench", "speed", "peers", of.peer.script);
          result.peer.push(await start([PYTHON, script, ...of.peer.arguments]));
        }
        say(`${of.name}: round ${round + 1} of ${of.peer === undefined ? 1 : rounds}`);
      }
      results.push(result);
      return result;
    },
  }));
  const write = (): void => {
    const content = { date, machine: machine(), results };
    writeFileSync(join(out, "results.json"), `${JSON.stringify(content, null, 2)}\n`);
    writeFileSync(join(out, "tables.md"), tables(date, results));
  };
  const { failures } = await runTrials(trials, { jobs: 1, signal, each: write, say });
  for (const tidy of new Set(cases.map((of) => of.tidy))) await tidy?.();
  if (signal.aborted) return 130;
  console.log(tables(date, results));
  return failures.length === 0 ? 0 : 1;
}

/** Our side of a case. */
export function measureCase(name: string): Promise<Measurement> {
  return CASES.find((of) => of.name === name)!.run();
}

function parseArguments(args: readonly string[]): Flags & { cases: SpeedCase[] } {
  const command = newCommand("npm run bench -- speed", "Measures speed against PyTorch, diffusers and safetensors.")
    .argument("[case...]", `of ${NAMES.join(", ")}; default all`)
    .option("--rounds <n>", "measurements of each side", integer("--rounds", 1), 3)
    .option("--out <dir>", "where results.json and tables.md go; default bench/results/DATE-speed")
    .addHelpText("after", "\nKPOP_PYTHON names the Python that has them; default python3."); // prettier-ignore
  parseCommand(command, args);
  const names = command.args.map(oneOf("CASE", NAMES));
  return {
    ...command.opts<Flags>(),
    cases: names.length === 0 ? [...CASES] : names.map((name) => CASES.find((of) => of.name === name)!),
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
