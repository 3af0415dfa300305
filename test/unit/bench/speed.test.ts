import { readFileSync } from "node:fs";
import { join } from "node:path";
import { speed } from "../../../bench/speed/run";
import { temporaryDirectory } from "../../support/temporary-directory";

/** Stands for a case's process. */
const PROGRAM = `
if (process.argv[1] === "latents-restart") process.exit(console.error("no room") ?? 1);
console.log(JSON.stringify({ seconds: { run: 4 }, figures: { evaluations: 12 }, peakBytes: 2 ** 20 }));
`;

describe("the speed benchmark", () => {
  it("writes what it measured, goes on after a failure, and ends with 1", async () => {
    const [out, said] = [join(temporaryDirectory(), "out"), [] as string[]];
    const printed = jest.spyOn(console, "log").mockImplementation(() => undefined);
    const code = await speed(
      ["latents-restart", "latents-pool", "--out", out],
      (name) => [process.execPath, "-e", PROGRAM, name],
      { signal: new AbortController().signal, say: (sentence) => said.push(sentence) },
    );
    const tables = readFileSync(join(out, "tables.md"), "utf8");
    expect(printed).toHaveBeenCalledWith(tables);
    printed.mockRestore();
    expect(code).toBe(1);
    expect(said.join("\n")).toMatch(
      /1\/2 {2}latents-restart .* FAILED: no room  about .*\n.*round 1 of 1\n +2\/2 {2}latents-pool /,
    );
    expect(tables).toContain(
      "| run, s | 4.000 |  |  |\n| peak resident size | 1 MiB |  | |\n| evaluations | 12.00 | | |",
    );
    const { results } = JSON.parse(readFileSync(join(out, "results.json"), "utf8")) as {
      results: { trial: unknown }[];
    };
    expect(results).toMatchObject([
      { trial: { name: "latents-pool" }, ours: [{ seconds: { run: 4 } }], peer: [] },
    ]);
  });
});
