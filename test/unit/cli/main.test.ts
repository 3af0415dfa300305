import { spawn, type StdioOptions } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { version } from "../../../package.json";
import { cli } from "../../support/cli";

describe("kpop-native", () => {
  it("says what it does, with examples and all commands", async () => {
    const { code, stdout, stderr } = await cli(["--help"]);
    expect(code).toBe(0);
    expect(stderr).toBe("");
    for (const command of [
      "erase",
      "generate",
      "evaluate",
      "compare",
      "bench",
      "certify",
      "verify",
      "inspect",
      "apply",
      "convert",
      "cache",
      "methods",
      "attacks",
      "doctor",
    ])
      expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
    expect(stdout).toMatch(/erase pocket --concept church --out no-church/);
  });

  it("runs the repository's benchmark, with options of its own", async () => {
    const { code, stdout } = await cli(["bench", "--help"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/--methods[^]*--shard/);
    expect(await cli(["bench", "--methods", "nothing"])).toMatchObject({ code: 2 });
  });

  it("tells its version", async () => {
    expect(await cli(["--version"])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it.each([
    ["no command", [], /^Usage: kpop-native/],
    ["an unknown command", ["erse"], /unknown command 'erse'\n\(Did you mean erase\?\)/],
    [
      "an unknown option",
      ["inspect", "pocket", "--hsh"],
      /unknown option '--hsh'\n\(Did you mean --hash\?\)/,
    ],
    [
      "a misspelt option that has to be there",
      ["erase", "pocket", "--concept", "x", "--ot", "y"],
      /unknown option '--ot'\n\(Did you mean --out\?\)/,
    ],
    ["no model", ["generate", "--prompt", "x", "--out", "x.png"], /missing required argument 'MODEL'/],
    ["no concept", ["erase", "pocket", "--out", "x"], /required option '--concept <text>' not specified/],
    [
      "no prompt",
      ["generate", "pocket", "--out", "x.png"],
      /required option '--prompt <text>' not specified/,
    ],
    [
      "a word for a number",
      ["erase", "pocket", "--concept", "x", "--out", "y", "--iterations", "x"],
      /'--iterations <n>' argument 'x' is invalid/,
    ],
    [
      "--resume alone",
      ["erase", "pocket", "--concept", "x", "--out", "y", "--resume"],
      /--resume needs --checkpoint/,
    ],
    [
      "--passphrase-file alone",
      ["generate", "pocket", "--prompt", "x", "--out", "x.png", "--passphrase-file", "y"],
      /--passphrase-file needs --key/,
    ],
    [
      "a picture that is no PNG",
      ["generate", "pocket", "--prompt", "x", "--out", "x.jpg"],
      /--out has to end in \.png/,
    ],
  ])("exits with 2 on %s, and says where to read on", async (_, args, message) => {
    const { code, stdout, stderr } = await cli(args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    if (args.length > 0) expect(stderr).toMatch(/--help lists the (?:options|commands)\)\n$/);
    expect(stdout).toBe("");
  });

  it("tells of results that cannot be written, and minds no lost words", async () => {
    const program = join(__dirname, "../../../dist/cli.js");
    for (const full of [1, 2]) {
      const stdio: StdioOptions = ["ignore", "pipe", "pipe"];
      stdio[full] = openSync("/dev/full", "w");
      const child = spawn(process.execPath, [program, "inspect", full === 1 ? "pocket" : "nowhere"], {
        stdio,
      });
      let said = "";
      (child.stdout ?? child.stderr)!.on("data", (text: Buffer) => (said += text.toString()));
      const code = await new Promise((resolve) => child.on("close", resolve));
      closeSync(stdio[full]);
      const expected = full === 1 ? /^IO_ERROR: Cannot write to stdout: ENOSPC[^\n]*\n$/ : /^$/;
      expect(said).toMatch(expected);
      expect(code).toBe(1);
    }
  });

  it("does not mind a reader that goes away", async () => {
    const program = join(__dirname, "../../../dist/cli.js");
    const child = spawn(process.execPath, [program, "erase", "--help"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.destroy();
    let stderr = "";
    child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });
});
