import type { Command } from "commander";
import { installRuntime } from "../../index";
import type { InstallProgress } from "../../index";

interface Flags {
  cpu?: boolean;
  cuda?: boolean;
  from?: string;
  indexUrl?: string;
  force?: boolean;
  json?: boolean;
}

/** `kpop-native install-runtime [--cpu | --cuda]`: puts libtorch into the user's cache folder. */
export function registerInstallRuntime(program: Command): void {
  const command = program
    .command("install-runtime")
    .description("put the libtorch that kpop-native needs into your cache folder")
    .option("--cpu", "the CPU build, about 0.5 GB (default)")
    .option("--cuda", "the CUDA build with its libraries, several GB")
    .option("--from <file>", "take it from a torch wheel or libtorch archive on disk")
    .option("--index-url <url>", "package index for pip (default: KPOP_TORCH_INDEX_URL, else pip's own)")
    .option("--force", "install again even if it is there")
    .option("--json", "print progress and result as JSON, one object per line");
  command.action(async ({ cpu, cuda, json, ...rest }: Flags) => {
    if (cpu && cuda) command.error("error: --cpu and --cuda exclude each other", { exitCode: 2 });
    const interrupt = new AbortController();
    const onInterrupt = () => interrupt.abort();
    process.once("SIGINT", onInterrupt);
    try {
      const runtime = await installRuntime({
        ...rest,
        flavour: cuda ? "cuda" : "cpu",
        signal: interrupt.signal,
        onProgress: json ? (progress) => print({ event: "progress", ...progress }) : progressPrinter(),
      });
      if (json) print({ event: "installed", ...runtime });
      else {
        for (const { name, sha256 } of runtime.archives) process.stderr.write(`sha256 ${sha256}  ${name}\n`);
        process.stdout.write(
          `libtorch ${runtime.version} (${runtime.flavour}) ${runtime.installed ? "installed" : "is there already"}: ${runtime.directory}\n`,
        );
      }
    } finally {
      process.removeListener("SIGINT", onInterrupt);
    }
  });
}

function print(object: object): void {
  process.stdout.write(`${JSON.stringify(object)}\n`);
}

/** A line for each new message and each tenth of the bytes. */
function progressPrinter(): (progress: InstallProgress) => void {
  let last = "";
  return ({ message, done, total }) => {
    const tenths = total ? Math.floor((10 * (done ?? 0)) / total) : 0;
    const line = total ? `${message} ${tenths * 10} %` : message;
    if (line !== last) process.stderr.write(`${line}\n`);
    last = line;
  };
}
