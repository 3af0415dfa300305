import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compare } from "../../../bench/compare";
import type { Results } from "../../../bench/results";
import { temporaryDirectory } from "../../support/temporary-directory";

/** Stands for the process of a trial: counts that follow from its name, and a line that tells that it was measured. */
const PROGRAM = `
const { appendFileSync } = require("node:fs");
const { join } = require("node:path");
const { directory, spec } = JSON.parse(process.argv[2]);
appendFileSync(join(directory, "measured.txt"), spec.name + "\\n");
const draw = [...spec.name + JSON.stringify(spec.options)].reduce((h, c) => (Math.imul(h, 31) + c.charCodeAt(0)) >>> 0, 7);
const count = (group) => (name, i) =>
  ({ name, group, images: 2, hits: { 1: (draw >>> i) % 3, 5: 2 } });
const counts = [...spec.erased.map(count("erased")), ...spec.preserved.map(count("preserved"))];
setTimeout(() => console.log(JSON.stringify({ spec, counts, wallSeconds: 1, finishedAt: new Date().toISOString() })), 20);
`;

describe("the comparison in shards", () => {
  const said: string[] = [];
  let program: string;
  let folder: string;
  const run = (
    shard: string,
    { methods = "uce,esd", signal = new AbortController().signal, out = folder } = {},
  ): Promise<number> =>
    compare(
      [
        ...["--quick", "--methods", methods, "--experiments", "objects,key", "--jobs", "1"],
        ...["--shard", shard, "--out", out],
      ],
      (assignment) => [process.execPath, program, JSON.stringify(assignment)],
      { signal, say: (sentence) => said.push(sentence) },
    );
  const measured = (): string[] => readFileSync(join(folder, "measured.txt"), "utf8").trim().split("\n");
  const figures = (out: string) => {
    const { trials, chosen } = JSON.parse(readFileSync(join(out, "results.json"), "utf8")) as Results;
    return { chosen, trials: trials.map(({ spec, counts }) => ({ spec, counts })) };
  };

  beforeEach(() => {
    said.length = 0;
    const own = temporaryDirectory();
    program = join(own, "program.cjs");
    writeFileSync(program, PROGRAM);
    folder = join(own, "run");
  });

  it("measures every trial once, whatever shard comes first, and reports as one process does", async () => {
    expect(await Promise.all([run("1/2"), run("0/2")])).toEqual([0, 0]);
    expect(existsSync(join(folder, "results.json"))).toBe(false);
    const shared = measured();
    expect(new Set(shared).size).toBe(shared.length);
    expect(said).toContainEqual(expect.stringMatching(/with --shard 0\/1 writes the report$/));
    expect(await run("0/1")).toBe(0);
    expect(measured()).toEqual(shared);
    const alone = join(temporaryDirectory(), "run");
    expect(await run("0/1", { out: alone })).toBe(0);
    expect(figures(folder)).toEqual(figures(alone));
    expect(figures(folder).trials).toHaveLength(shared.length);
    expect(readdirSync(folder)).not.toContain("shards.json");
    expect(readdirSync(join(folder, "work"))).toEqual([]);
  });

  it("finishes what a shard that was stopped has left, in another shard or the whole", async () => {
    const controller = new AbortController();
    const stopped = run("0/2", { signal: controller.signal });
    while (!existsSync(join(folder, "measured.txt"))) await new Promise((resolve) => setTimeout(resolve, 10));
    controller.abort();
    expect(await stopped).toBe(130);
    expect(await run("1/2")).toBe(0);
    const before = readdirSync(join(folder, "trials")).length;
    expect(await run("0/1")).toBe(0);
    const trials = readdirSync(join(folder, "trials"));
    expect(trials.length).toBeGreaterThan(before);
    expect(figures(folder).trials).toHaveLength(trials.length);
  });

  it("refuses a shard of other methods, and in a folder of another run leaves no word of itself", async () => {
    expect(await run("0/2")).toBe(0);
    const before = measured();
    for (const shard of ["1/2", "0/1"])
      await expect(run(shard, { methods: "uce,sdd" })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/methods\[1\] was "esd" there and is "sdd" here/) as string,
      });
    expect(measured()).toEqual(before);
    rmSync(join(folder, "shards.json"));
    const settings = join(folder, "settings.json");
    writeFileSync(settings, readFileSync(settings, "utf8").replace(/"steps": \d+/, '"steps": 77'));
    await expect(run("1/2")).rejects.toThrow(/steps was 77 and is now \d+/);
    expect(existsSync(join(folder, "shards.json"))).toBe(false);
  });

  it.each(["2/2", "1", "a/b"])("refuses the shard %s", async (shard) => {
    await expect(run(shard)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: `Expected --shard to be I/N, I from 0 to N - 1: of two shards 0/2 and 1/2 but received "${shard}"`,
    });
    expect(existsSync(folder)).toBe(false);
  });
});
