import { Command, CommanderError } from "commander";
import { reportError } from "../../../lib/cli/report-error";
import { KpopError } from "../../../lib/index";
import type { KpopErrorCode } from "../../../lib/index";

const argv = [...process.argv];
let output: { stdout: string; stderr: string };

beforeEach(() => {
  output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    jest.spyOn(process[name], "write").mockImplementation((text) => {
      output[name] += String(text);
      return true;
    });
  }
});
afterEach(() => {
  jest.restoreAllMocks();
  process.argv = [...argv];
});

function command(...given: string[]): Command {
  const erase = new Command("erase")
    .option("--concept <text>")
    .option("--learning-rate <n>", "", (text: string) => [text])
    .option("--prompt-size <n>")
    .option("--json");
  return erase.parse(given, { from: "user" });
}

function report(error: unknown, given: Command | undefined = undefined, debug = false): number {
  return reportError(error, { command: given, debug });
}

describe("reportError", () => {
  it.each<[KpopErrorCode, number]>([
    ["INVALID_ARGUMENT", 2],
    ["ABORTED", 130],
    ["OUTPUT_NOT_EMPTY", 1],
    ["LIBTORCH_MISSING", 1],
    ["NUMERIC_FAILURE", 1],
  ])("gives %s the exit code %i, and says it once without a stack", (code, exit) => {
    expect(report(new KpopError(code, "What happened"))).toBe(exit);
    expect(output.stderr.split("\n")[0]).toMatch(/^(?:error: )?What happened$/);
    expect(output.stderr).not.toMatch(/ at /);
    expect(output.stdout).toBe("");
  });

  it("leaves to commander what commander has said, and tells help from wrong usage", () => {
    expect(report(new CommanderError(0, "commander.help", ""))).toBe(0);
    expect(report(new CommanderError(1, "commander.unknownOption", "unknown"))).toBe(2);
    expect(output.stderr).toBe("");
  });

  it("calls an unexpected error a bug, and says how to report it", () => {
    expect(report(new TypeError("x is not a function"))).toBe(1);
    expect(output.stderr).toMatch(
      /error: TypeError: x is not a function\nThis is a bug in kpop-native.*--debug/,
    );
  });

  it("shows the stack and the causes with debug", () => {
    const error = new KpopError("IO_ERROR", "Cannot read", { cause: new Error("the disk") });
    expect(report(error, undefined, true)).toBe(1);
    expect(output.stderr).toMatch(/KpopError: Cannot read\n +at [^]*Caused by: Error: the disk\n +at /);
  });

  it.each([
    [
      "Expected learningRate to be a number but received 3 (number)",
      "Expected --learning-rate to be a number but received 3 (number)",
    ],
    [
      "Expected prompt.size to be an integer but received 0 (number)",
      "Expected --prompt-size to be an integer but received 0 (number)",
    ],
    [
      "Expected concepts to be a non-empty string but received x",
      "Expected --concept to be a non-empty string but received x",
    ],
    [
      "Expected learningRate.shape to be one of a, b but received c",
      "Expected the shape of --learning-rate to be one of a, b but received c",
    ],
    ["Expected width to be 3 but received 4", "Expected width to be 3 but received 4"],
    [
      'Expected learningRate to be at most promptSize (3) but received "a; \\"b" (string); give promptSize',
      'Expected --learning-rate to be at most --prompt-size (3) but received "a; \\"b" (string); give --prompt-size',
    ],
    [
      "Expected learningRate to be small but it is taken; choose another",
      "Expected --learning-rate to be small but it is taken; choose another",
    ],
  ])("puts flags in the place of options: %s", (message, shown) => {
    expect(report(new KpopError("INVALID_ARGUMENT", message), command())).toBe(2);
    expect(output.stderr).toContain(`error: ${shown}\n`);
    expect(output.stderr).toMatch(/erase --help lists the options/);
  });

  it("shows what was typed for the option", () => {
    const error = new KpopError(
      "INVALID_ARGUMENT",
      "Expected learningRate to be a number but received an object; 1e-5 is usual",
    );
    report(error, command("--learning-rate", "1:2:linear"));
    expect(output.stderr).toContain(
      'Expected --learning-rate to be a number but received "1:2:linear"; 1e-5 is usual\n',
    );
  });

  it("shows paths as they were typed", () => {
    process.argv = ["node", "cli.js", "erase", "models/x/", "--out=../y"];
    const [model, out] = [`${process.cwd()}/models/x`, `${process.cwd().replace(/\/[^/]+$/, "")}/y`];
    report(new KpopError("IO_ERROR", `Cannot read ${model}/unet and ${out}, unlike ${model}yz`));
    expect(output.stderr).toBe(`error: Cannot read models/x/unet and ../y, unlike ${model}yz\n`);
  });

  it("gives wrong usage an event too, which is found before a command has its options", () => {
    process.argv = ["node", "cli.js", "erase", "--json", "--nonsense"];
    expect(
      report(new CommanderError(1, "commander.unknownOption", "error: unknown option '--nonsense'")),
    ).toBe(2);
    expect(JSON.parse(output.stdout)).toEqual({
      event: "error",
      code: "INVALID_ARGUMENT",
      message: "unknown option '--nonsense'",
    });
    output.stdout = "";
    process.argv = ["node", "cli.js", "erase"];
    report(new CommanderError(1, "commander.missingArgument", "error: missing"));
    report(new CommanderError(0, "commander.help", ""));
    expect(output.stdout).toBe("");
  });

  it("prints the error on stdout too when the command prints JSON", () => {
    report(new KpopError("NOT_FOUND", "Nothing there"), command("--json"));
    expect(JSON.parse(output.stdout)).toEqual({
      event: "error",
      code: "NOT_FOUND",
      message: "Nothing there",
    });
  });
});
