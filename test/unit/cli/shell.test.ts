import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { commandLine, invocation } from "../../../lib/cli/shell";

const argv = [...process.argv];
const environment = { ...process.env };

beforeEach(() => delete process.env.npm_command);
afterEach(() => {
  process.argv = [...argv];
  process.env = { ...environment };
});

describe("commands to be pasted", () => {
  it("begin as this one did", () => {
    process.argv[1] = "/usr/local/bin/kpop-native";
    expect(invocation()).toBe("kpop-native");
    process.env.npm_command = "exec";
    expect(invocation()).toBe("npx kpop-native");
    process.argv[1] = join(process.cwd(), "dist/cli.js");
    expect(invocation()).toBe("node dist/cli.js");
    process.argv[1] = "/elsewhere/dist/cli.js";
    expect(invocation()).toBe("node /elsewhere/dist/cli.js");
  });

  it("come out of a shell as the words they were made from", () => {
    process.argv[1] = "/bin/kpop-native";
    const words = [
      "plain",
      "a photo",
      'say "hi"',
      "it's",
      "$HOME",
      "a\\b",
      "",
      "*",
      "`x`",
      "!1",
      "über",
      "two\nlines",
    ];
    const script = commandLine(...words).replace("kpop-native", `printf '%s\\0'`);
    expect(spawnSync("sh", ["-c", script], { encoding: "utf8" }).stdout.split("\0").slice(0, -1)).toEqual(
      words,
    );
  });
});
