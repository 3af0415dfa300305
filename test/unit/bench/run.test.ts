import { spawnSync } from "node:child_process";
import { join } from "node:path";

const bench = (...args: string[]) =>
  spawnSync(process.execPath, [join(__dirname, "../../../dist/bench.js"), ...args], { encoding: "utf8" });

describe("the benchmark's command line", () => {
  it.each([
    [["--help"], /--images-per-class <n>.*npm run bench -- speed/s],
    [["speed", "--help"], /case +of unet-float32, .*--rounds <n>/s],
  ])("explains itself on %j", (args, words) => {
    const { status, stdout, stderr } = bench(...args);
    expect(stdout).toMatch(words);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it.each([
    [["--nonsense"], /unknown option '--nonsense'/],
    [["nothing"], /too many arguments/],
    [["speed", "--nonsense"], /unknown option '--nonsense'/],
    [["speed", "nothing"], /Expected CASE to be among unet-float32, .* but received "nothing"/],
    [["speed", "--rounds", "0"], /Expected --rounds to be an integer >= 1 but received "0"/],
    [["load", "--rounds"], /'--rounds <n>' argument missing/],
  ])("says in one sentence what is wrong with %j", (args, words) => {
    const { status, stdout, stderr } = bench(...args);
    expect(stderr).toMatch(words);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  });
});
