import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { findLibtorch } from "../../lib/runtime/libtorch";

/** What npm may need to reach the registry. */
const FOR_NPM =
  /^(?:HOME|npm_config_(?:registry|userconfig|globalconfig|cache)|(?:https?|no)_proxy|NODE_EXTRA_CA_CERTS)$/i;
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

  async install(tarball: string): Promise<void> {
    await this.run(
      "npm",
      "install",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      "--prefer-offline",
      tarball,
    );
  }

  /** Writes a file of the project. */
  write(path: string, content: string): void {
    mkdirSync(dirname(join(this.project, path)), { recursive: true });
    writeFileSync(join(this.project, path), content);
  }

  /** Runs a program in the project. @returns its stdout @throws its stderr, when it fails */
  async run(command: string, ...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(command, args, { cwd: this.project, env: this.env });
    return stdout;
  }
}
