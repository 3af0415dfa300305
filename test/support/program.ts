import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { join } from "node:path";

const ROOT = join(__dirname, "..", "..");

export interface ProgramOptions {
  /** Options of node itself, such as --expose-gc. */
  nodeOptions?: readonly string[];
  /** A command that the program is run by, with its own arguments, such as a shell. */
  under?: readonly string[];
  env?: Readonly<Record<string, string>>;
  onLine?(line: string, child: ChildProcess): void;
}

export interface ProgramResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Of stdout. */
  lines: string[];
  stderr: string;
}

/** Runs a program of test/support/programs in a process of its own, against the built library. */
export function runProgram(
  name: string,
  args: readonly (string | number)[] = [],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  const { nodeOptions = [], under = [], env = {}, onLine } = options;
  const script = join(__dirname, "programs", name);
  const [command, ...rest] = [...under, process.execPath, ...nodeOptions, script, ...args.map(String)];
  const child = spawn(command!, rest, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    onLine?.(line, child);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, lines, stderr }));
  });
}

/** The last line of a program that ended well, as JSON. */
export function resultOf<T>({ code, signal, lines, stderr }: ProgramResult): T {
  if (code !== 0) throw new Error(`the program ended with ${signal ?? `code ${code}`}: ${stderr}`);
  return JSON.parse(lines.at(-1)!) as T;
}
