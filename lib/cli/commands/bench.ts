import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { KpopError } from "../../index";

/** `kpop-native bench …`: the repository's benchmark, with its own options. */
export function registerBench(program: Command): void {
  program
    .command("bench")
    .summary("compare the methods on the built-in model (in a clone of the repository)")
    .usage("[options]")
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async () => {
      const path = join(__dirname, "bench.js");
      if (!existsSync(path))
        throw new KpopError(
          "NOT_FOUND",
          "The benchmark and what it compares are not in the package: clone the repository of kpop-native and run npm run bench there",
        );
      const given = process.argv.slice(process.argv.indexOf("bench") + 1);
      const child = spawn(process.execPath, [path, ...given], { stdio: "inherit" });
      const forward = (): void => void child.kill("SIGTERM");
      process.once("SIGTERM", forward);
      // A terminal's SIGINT reaches the benchmark, too, which ends as it sees fit.
      const ignore = (): void => undefined;
      process.on("SIGINT", ignore);
      const [code] = (await once(child, "exit")) as [number | null];
      process.off("SIGTERM", forward).off("SIGINT", ignore);
      process.exitCode = code ?? 1;
    });
}
