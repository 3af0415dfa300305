import { spawn } from "node:child_process";
import { join } from "node:path";

const PROGRAM = join(__dirname, "../../dist/cli.js");

export interface CliResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface CliOptions {
  cwd?: string;
  env?: Readonly<Record<string, string | undefined>>;
  /** Called with each complete line of stdout. */
  onLine?(line: string, kill: (signal: NodeJS.Signals) => void): void;
  /** Called with all of stderr so far. */
  onError?(text: string, kill: (signal: NodeJS.Signals) => void): void;
}

/** Runs the built program to its end. */
export function cli(
  args: readonly string[],
  { cwd, env, onLine, onError }: CliOptions = {},
): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      cwd,
      env: {
        ...process.env,
        OMP_NUM_THREADS: "1",
        KPOP_PASSPHRASE: undefined,
        npm_command: undefined,
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [stdout, stderr, shown] = ["", "", 0];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      for (let end; (end = stdout.indexOf("\n", shown)) >= 0; shown = end + 1)
        onLine?.(stdout.slice(shown, end), (signal) => void child.kill(signal));
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
      onError?.(stderr, (signal) => void child.kill(signal));
    });
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** The objects that `--json` printed. @throws when a line is none */
export function jsonLines(stdout: string): Record<string, unknown>[] {
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
