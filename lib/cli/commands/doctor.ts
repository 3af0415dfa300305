import type { Command } from "commander";
import { doctor } from "../../index";
import type { DoctorReport } from "../../index";
import { emit, print } from "../output";

/** `kpop-native doctor [--json]`: exits with 0 when the library can work here, else with 1. */
export function registerDoctor(program: Command): void {
  program
    .command("doctor")
    .description(
      "check the installation: native files, libtorch, devices; say what is wrong and how to mend it",
    )
    .option("--json", "print the report as one JSON object")
    .action(async (options: { json?: boolean }) => {
      const report = await doctor();
      if (options.json === true) emit(report);
      else print(describe(report));
      process.exitCode = report.ok ? 0 : 1;
    });
}

function describe(report: DoctorReport): string {
  const lines = report.checks.flatMap(({ name, ok, found, remedy }) => [
    `${word(ok, remedy)}  ${name.padEnd(9)} ${found}`,
    ...(remedy === undefined ? [] : [`      ${"".padEnd(9)} -> ${remedy}`]),
  ]);
  const verdict = report.ok
    ? `Ready, on ${report.devices.join(", ")}`
    : "Not ready: do what the arrow says, then run doctor again";
  return [...lines, verdict].join("\n");
}

function word(ok: boolean, remedy: string | undefined): string {
  if (!ok) return "FAIL";
  return remedy === undefined ? "ok  " : "warn";
}
