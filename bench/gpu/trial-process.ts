import { spawn } from "node:child_process";
import { watchDeviceMemory } from "./device-memory";

/** A trial's result, and how much memory of the GPU it took; null where nothing tells. */
export interface Ran<T> {
  result: T;
  deviceBytes: number | null;
}

/**
 * Runs one trial and reads the JSON of its last line; what it says besides goes to stderr as it comes.
 * @throws Error with the last line of its stderr where it fails
 */
export async function runTrial<T>(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Ran<T>> {
  const endWatch = watchDeviceMemory();
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
    process.stderr.write(text);
  });
  let deviceBytes: number | null = null;
  try {
    const end = await new Promise<number | string | null>((resolve, reject) => {
      child.on("error", reject).on("close", (code, signal) => resolve(code ?? signal));
    });
    if (end !== 0) throw new Error(lastLine(output.stderr) ?? `the process was ended by ${end}`);
  } finally {
    deviceBytes = endWatch();
  }
  return { result: JSON.parse(lastLine(output.stdout) ?? "null") as T, deviceBytes };
}

function lastLine(text: string): string | undefined {
  return text.trim().split("\n").at(-1) || undefined;
}
