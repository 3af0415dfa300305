import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { KpopError } from "../lib/index";

/** A command line: the program, then its arguments. */
export type Command = readonly string[];

/** Runs a command as a process of its own. @returns the JSON of the last line on its stdout @throws its last words */
export type Start = <T>(command: Command, env?: NodeJS.ProcessEnv) => Promise<T>;

/** One thing to be measured. */
export interface Trial<R> {
  name: string;
  /** Measures it, everything that is measured in processes of its own. */
  run(start: Start): Promise<R>;
  /** What an earlier run found; null where there is none. */
  finished?(): R | null;
  /** Seconds of its own and figures, for people. */
  describe?(result: R): string;
}

/** How trials are run. */
export interface RunnerOptions {
  /** Trials at a time; the processor's cores are divided among them. */
  jobs: number;
  signal: AbortSignal;
  /** Trials of the whole run that are still to come after these. */
  later?: number;
  /** Folder for what trials say, a file for each; without one it is passed on to stderr. */
  logs?: string;
  /** Called after each trial, with all that failed until then. */
  each?(failures: readonly Failure[]): void;
  say(sentence: string): void;
}

/** A trial that gave no result, and why. */
export interface Failure {
  name: string;
  message: string;
}

/**
 * Runs the trials that are not finished yet, several at a time. A trial that fails does not stop the others; an abort ends
 * the processes and keeps what is finished.
 * @returns a result for each trial, in their order; null where it failed or was not reached
 */
export async function runTrials<R>(
  trials: readonly Trial<R>[],
  options: RunnerOptions,
): Promise<{ results: (R | null)[]; failures: Failure[] }> {
  const { say, signal, jobs, later = 0 } = options;
  const results = trials.map((trial): R | null => trial.finished?.() ?? null);
  const waiting = trials.flatMap((trial, place) => (results[place] === null ? [{ trial, place }] : []));
  let done = trials.length - waiting.length;
  if (done > 0) say(`${done} of ${trials.length} trials are finished already`);
  const failures: Failure[] = [];
  const total = trials.length + later;
  const [started, before] = [performance.now(), done];

  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined && !signal.aborted; next = waiting.shift()) {
      const { trial, place } = next;
      const begun = performance.now();
      let outcome: string;
      try {
        const result = await trial.run((command, env) => runProcess(trial.name, command, env, options));
        results[place] = result;
        outcome = trial.describe?.(result) ?? "";
      } catch (error) {
        if (signal.aborted) return;
        const { message } = error as Error;
        failures.push({ name: trial.name, message });
        outcome = `FAILED: ${message}`;
      }
      done += 1;
      options.each?.(failures);
      const average = (performance.now() - started) / (done - before);
      const left =
        total - done > 0 ? `  about ${Math.ceil((average * (total - done)) / 60_000)} min left` : "";
      const seconds = ((performance.now() - begun) / 1000).toFixed(0).padStart(4);
      say(`${`${done}/${total}`.padStart(7)}  ${trial.name.padEnd(28)} ${seconds} s  ${outcome}${left}`);
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return { results, failures };
}

/** Runs one process to its end, or until the run is aborted. */
async function runProcess<T>(
  name: string,
  [program, ...args]: Command,
  env: NodeJS.ProcessEnv = {},
  { jobs, signal, logs }: RunnerOptions,
): Promise<T> {
  if (signal.aborted) throw new KpopError("ABORTED", "The run was interrupted");
  const threads = String(Math.max(1, Math.floor(availableParallelism() / jobs)));
  const child = spawn(program!, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...(jobs > 1 ? { OMP_NUM_THREADS: threads } : {}), ...process.env, ...env },
  });
  const log = logs === undefined ? null : join(logs, `${name}.log`);
  if (logs !== undefined) mkdirSync(logs, { recursive: true });
  const file = log === null ? null : createWriteStream(log);
  child.stderr.pipe(file ?? process.stderr, { end: file !== null });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
  const stop = (): void => void child.kill("SIGTERM");
  signal.addEventListener("abort", stop);
  try {
    const failure = await new Promise<string | null>((resolve) => {
      child.once("error", ({ message }) => resolve(message));
      child.once("close", (code, by) => resolve(code === 0 ? null : `it ended with ${by ?? `exit code ${code}`}`));
    }); // prettier-ignore
    const result = lastLine(output.stdout);
    if (failure === null && result !== undefined) return JSON.parse(result) as T;
    const why = failure === null ? "it left no result" : (lastLine(output.stderr) ?? failure);
    throw new Error(log === null ? why : `${why} (see ${log})`);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function lastLine(text: string): string | undefined {
  return text.trim().split("\n").at(-1) || undefined;
}
