import { spawn } from "node:child_process";
import type { AddonFiles } from "./addon-files";
import type { Libtorch } from "./libtorch-directory";

/** What a child process saw when it loaded the native files. */
export type ProbeResult =
  | {
      ok: true;
      version: string | null;
      builtForTorch: string;
      cpuCapability: string;
      devices: number;
      threads: number;
    }
  | {
      ok: false;
      /** "refused": the linker would not load `path`; "ended": the process came to its end over it. */
      how: "refused" | "ended";
      path: string;
      words: string;
      /** Of the libtorch, where it could be opened and tells. */
      version?: string | null;
    };

// Plain JavaScript in a string, so that it runs the same from lib/ and from dist/.
const SCRIPT = `
const [loaderPath, addonPath, ...libraries] = process.argv.slice(1);
let version = null;
const say = (result) => require("node:fs").writeSync(1, JSON.stringify(result) + "\\n");
const refuse = (path, words) => { say({ ok: false, how: "refused", path, words, version }); process.exit(0); };
const open = (path) => {
  const module = { exports: {} };
  try { process.dlopen(module, path); }
  catch (error) { refuse(path, error.message); }
  return module.exports;
};
const opened = open(loaderPath).open(libraries);
if (!opened.ok) refuse(opened.path, opened.message);
version = opened.version;
const addon = open(addonPath);
addon.initialize((failure) => new Error(failure.message));
say({ ok: true, version, builtForTorch: addon.builtForTorch, cpuCapability: addon.cpuCapability(),
      devices: addon.deviceCount(), threads: addon.threads() });
process.exit(0);
`;

/** Loads libtorch and the add-on in a child process, because a damaged library can end the process that opens it. */
export async function probeNative(
  files: AddonFiles,
  libtorch: Libtorch,
  timeoutMs: number = 120_000,
): Promise<ProbeResult> {
  const child = spawn(process.execPath, ["-e", SCRIPT, files.loader, files.addon, ...libtorch.libraries], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => (output[name] += text));
  }
  const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.on("error", reject).on("close", (code, by) => resolve([code, by]));
  });
  if (output.stdout !== "") return JSON.parse(output.stdout) as ProbeResult;
  const end =
    signal === "SIGKILL"
      ? `gave no answer in ${timeoutMs / 1000} s`
      : `was ended by ${signal ?? `exit code ${status}`}`;
  const last = output.stderr.trim().split("\n").at(-1) ?? "";
  return {
    ok: false,
    how: "ended",
    path: libtorch.directory,
    words: `the process that loaded it ${end}${last === "" ? "" : `: ${last}`}`,
  };
}
