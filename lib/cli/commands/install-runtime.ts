import { Option } from "commander";
import type { Command } from "commander";
import { installRuntime, listRuntimes, removeRuntimes } from "../../index";
import type { CachedRuntime, InstalledRuntime, InstallProgress } from "../../index";
import { interruptible } from "../interrupt";
import { emit, print, say } from "../output";

interface Flags {
  cpu?: boolean;
  cuda?: boolean;
  from?: string;
  sha256?: string;
  indexUrl?: string;
  force?: boolean;
  list?: boolean;
  /** True for all versions. */
  remove?: string | true;
  json?: boolean;
}

/** `kpop-native install-runtime [--cpu | --cuda | --list | --remove]`: libtorch in the user's cache folder. */
export function registerInstallRuntime(program: Command): void {
  const command = program
    .command("install-runtime")
    .description("put the libtorch that kpop-native needs into your cache folder")
    .option("--cpu", "the CPU build, about 0.5 GB (default)")
    .option("--cuda", "the CUDA build with its libraries, several GB")
    .option("--from <file>", "take it from a torch wheel or libtorch archive on disk")
    .option("--sha256 <digits>", "refuse a torch wheel or archive with another SHA-256")
    .option("--index-url <url>", "package index for pip (default: KPOP_TORCH_INDEX_URL, else pip's own)")
    .option("--force", "install even if it is there, or the active Python has it")
    .addOption(exclusive("--list", "list what is installed"))
    .addOption(
      exclusive("--remove [version]", "remove what is installed, or one version (--cpu, --cuda: only that)"),
    )
    .option("--json", "print progress and result as JSON, one object per line");
  command.action(async ({ cpu, cuda, list, remove, json = false, ...rest }: Flags) => {
    if (cpu && cuda) command.error("error: --cpu and --cuda exclude each other", { exitCode: 2 });
    if (list && remove) command.error("error: --list and --remove exclude each other", { exitCode: 2 });
    const flavour = cuda ? "cuda" : cpu ? "cpu" : undefined;
    if (list) return showAll(await listRuntimes(), json);
    if (remove !== undefined) {
      const version = remove === true ? undefined : remove;
      return await removeAndTell({ ...(version && { version }), ...(flavour && { flavour }) }, json);
    }
    await interruptible("what was downloaded so far is removed", async (signal) => {
      const onProgress = json ? emitProgress : progressPrinter();
      tell(await installRuntime({ ...rest, ...(flavour && { flavour }), signal, onProgress }), json);
    });
  });
}

function exclusive(flags: string, description: string): Option {
  return new Option(flags, description).conflicts(["from", "sha256", "indexUrl", "force"]);
}

function tell(runtime: InstalledRuntime, json: boolean): void {
  if (json) return emit({ event: "installed", ...runtime });
  for (const { name, sha256 } of runtime.archives) say(`sha256 ${sha256}  ${name}`);
  const { version, flavour, directory } = runtime;
  if (runtime.source === "python") {
    say("The active Python's torch fits and is used as it is; --force installs another beside it");
  }
  const state = runtime.installed ? "installed" : "is there already";
  print(`libtorch ${version} (${flavour}) ${state}: ${directory}`);
}

function showAll(runtimes: readonly CachedRuntime[], json: boolean): void {
  if (json) for (const runtime of runtimes) emit({ event: "runtime", ...runtime });
  else if (runtimes.length === 0) say("No runtime is installed");
  else runtimes.forEach((runtime) => print(describe(runtime)));
}

async function removeAndTell(chosen: { version?: string; flavour?: "cpu" | "cuda" }, json: boolean) {
  const removed = await interruptible("what is half removed goes the next time", (signal) =>
    removeRuntimes({ ...chosen, signal, onWait: (holder) => say(`waiting for ${holder}`) }),
  );
  if (json) for (const runtime of removed) emit({ event: "removed", ...runtime });
  else if (removed.length === 0) say("No runtime is installed");
  else removed.forEach((runtime) => print(`removed ${describe(runtime)}`));
}

function describe({ version, flavour, bytes, directory, current, fault }: CachedRuntime): string {
  const size = `${(bytes / 1e9).toFixed(2)} GB`;
  const notes = [
    ...(current ? [] : ["not of the version that this kpop-native takes"]),
    ...(fault === null ? [] : [`damaged: ${fault}`]),
  ];
  return [`libtorch ${version} (${flavour})`, size, directory, ...notes].join("  ");
}

function emitProgress(progress: InstallProgress): void {
  emit({ event: "progress", ...progress });
}

/** A line for each new message and each tenth of the bytes. */
function progressPrinter(): (progress: InstallProgress) => void {
  let last = "";
  return ({ message, done, total }) => {
    const tenths = total ? Math.floor((10 * (done ?? 0)) / total) : 0;
    const line = total ? `${message} ${tenths * 10} %` : message;
    if (line !== last) say(line);
    last = line;
  };
}
