import { KpopError } from "../lib/index";
import type { Command } from "./runner";

/** What a program of the benchmark does: it starts trials, and it is the process of each. */
export interface Program<A> {
  /**
   * @param own the command that runs one trial in a process of its own
   * @param signal aborted by SIGINT and SIGTERM
   * @returns the exit code
   */
  main(args: readonly string[], own: (assignment: A) => Command, signal: AbortSignal): Promise<number>;
  /** Measures what it is told to; its result goes to stdout as the last line, as JSON. */
  trial(assignment: A): Promise<unknown>;
}

const TRIAL = "--trial";

/** Runs the program on the process's arguments. @param file what Node is to run for a trial: this program */
export function runProgram<A>(file: string, { main, trial }: Program<A>): void {
  const args = process.argv.slice(2);
  const run = async (): Promise<number> => {
    if (args[0] === TRIAL) {
      process.stdout.write(`${JSON.stringify(await trial(JSON.parse(args[1] ?? "") as A))}\n`);
      return 0;
    }
    const controller = new AbortController();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => controller.abort());
    const own = (assignment: A): Command => [process.execPath, file, TRIAL, JSON.stringify(assignment)];
    return main(args, own, controller.signal);
  };
  run().then(
    (code) => (process.exitCode = code),
    (error: unknown) => {
      if (error instanceof KpopError) console.error(`${error.code}: ${error.message}`);
      // The message comes last, where the runner looks for it.
      else console.error(error instanceof Error ? `${error.stack}\n${error.message}` : error);
      process.exitCode = error instanceof KpopError && error.code === "INVALID_ARGUMENT" ? 2 : 1;
    },
  );
}
