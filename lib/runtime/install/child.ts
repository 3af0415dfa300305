import { spawn } from "node:child_process";
import { KpopError, throwIfAborted } from "../../errors";

const TAIL_LINES = 15;

export interface ChildOptions {
  /** Each line of the child's output. */
  onLine?: (line: string) => void;
  env?: NodeJS.ProcessEnv | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Runs a program to its end and gives its standard output.
 * @throws LIBTORCH_MISSING with the command and the end of its output when it fails or does not exist; ABORTED
 */
export async function runChild(command: string, args: string[], options: ChildOptions = {}): Promise<string> {
  throwIfAborted(options.signal);
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: options.env ?? process.env,
    signal: options.signal,
  });
  let stdout = "";
  const tail: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream.setEncoding("utf8").on("data", (text: string) => {
      if (stream === child.stdout) stdout += text;
      const lines = (rest + text).split(/\r?\n|\r/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line.trim() === "") continue;
        tail.push(line);
        if (tail.length > TAIL_LINES) tail.shift();
        options.onLine?.(line);
      }
    });
  }
  const failure = await new Promise<string | null>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, by) =>
      resolve(code === 0 ? null : `it ended with ${by ?? `exit code ${code}`}`),
    );
  });
  throwIfAborted(options.signal);
  if (failure === null) return stdout;
  const shown = tail.length === 0 ? "" : `\n${tail.map((line) => `  ${line}`).join("\n")}`;
  // An index URL may carry a password, which belongs in no log.
  const words = `\`${[command, ...args].join(" ")}\` failed: ${failure}${shown}`.replace(
    /\/\/[^/@\s]+@/g,
    "//***@",
  );
  throw new KpopError("LIBTORCH_MISSING", words);
}
