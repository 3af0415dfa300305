import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { transformSync } from "@swc/core";

const ROOT = join(__dirname, "../..");

/**
 * A package of its own in `folder`, with what finds, installs and examines libtorch, compiled from the sources, and
 * without native files: for states of the package that the checkout must not be put into, and for processes that a
 * test kills.
 * @param more sources to compile besides
 */
export function packageCopy(folder: string, more: readonly string[] = []): string {
  const sources = ["lib/files", "lib/runtime"].flatMap((below) =>
    readdirSync(join(ROOT, below), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => join(below, name)),
  );
  for (const name of ["lib/errors.ts", "lib/check.ts", ...more, ...sources]) {
    const target = join(folder, name.replace(/ts$/, "js"));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, compiled(join(ROOT, name)));
  }
  copyFileSync(join(ROOT, "package.json"), join(folder, "package.json"));
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  return folder;
}

/** Puts copies of the checkout's native files into a package copy. */
export function addNativeFiles(folder: string): void {
  const release = join(folder, "build/Release");
  mkdirSync(release, { recursive: true });
  for (const name of ["kpop_loader.node", "kpop_native.node"]) {
    copyFileSync(join(ROOT, "build/Release", name), join(release, name));
  }
}

const cache = new Map<string, string>();

function compiled(path: string): string {
  const known = cache.get(path);
  if (known !== undefined) return known;
  const { code } = transformSync(readFileSync(path, "utf8"), {
    filename: path,
    swcrc: false,
    jsc: { parser: { syntax: "typescript" }, target: "es2022" },
    module: { type: "commonjs" },
  });
  cache.set(path, code);
  return code;
}

export interface ScriptResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Script {
  child: ChildProcess;
  ended: Promise<ScriptResult>;
  /** Resolves once a text has come on stdout. */
  said(text: string): Promise<void>;
}

/** Runs JavaScript in a process of its own, in the package copy's folder. `under`: a command that node is run by. */
export function runScript(
  folder: string,
  code: string,
  { env = {}, under = [] }: { env?: NodeJS.ProcessEnv; under?: readonly string[] } = {},
): Script {
  const [command, ...args] = [...under, process.execPath, "-e", code];
  const child = spawn(command ?? process.execPath, args, {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => (output[name] += text));
  }
  const ended = new Promise<ScriptResult>((resolve, reject) => {
    child.on("error", reject).on("close", (status, signal) => resolve({ code: status, signal, ...output }));
  });
  const said = async (text: string): Promise<void> =>
    await new Promise((resolve, reject) => {
      const look = () => output.stdout.includes(text) && resolve();
      child.stdout.on("data", look);
      look();
      ended.then(({ stderr }) => reject(new Error(`ended without saying ${text}: ${stderr}`)), reject);
    });
  return { child, ended, said };
}
