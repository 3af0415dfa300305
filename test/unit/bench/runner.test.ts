import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TrialRecord } from "../../../bench/results";
import { runTrials, type RunnerOptions, type Trial } from "../../../bench/runner";
import { Store } from "../../../bench/store";
import { storedTrial } from "../../../bench/trial";
import { SAMPLE_SETTINGS, sampleRecord } from "../../support/sample-results";
import { temporaryDirectory } from "../../support/temporary-directory";

/** Stands for the benchmark's own program: gives a trial's record, or fails as the trial's label says. */
const PROGRAM = `
const { appendFileSync } = require("node:fs");
const { join } = require("node:path");
const { directory, spec } = JSON.parse(process.argv[2]);
appendFileSync(join(directory, "started.txt"), spec.name + " " + process.env.OMP_NUM_THREADS + "\\n");
if (spec.label === "fails") {
  console.error("something before\\nOUT_OF_MEMORY: no room");
  process.exit(1);
}
if (spec.label === "hangs") setInterval(() => {}, 1000);
else if (spec.label !== "says nothing") console.log("words\\n" + JSON.stringify({ spec, wallSeconds: 1 }));
`;

describe("the runner", () => {
  const said: string[] = [];
  let store: Store;
  let options: RunnerOptions;
  const started = (): string[] =>
    readFileSync(join(store.directory, "started.txt"), "utf8").trim().split("\n");
  const trial = (name: string, label = "works"): Trial<TrialRecord> => {
    const own = (assignment: object) => [
      process.execPath,
      join(store.directory, "program.cjs"),
      JSON.stringify(assignment),
    ];
    const { say, signal } = options;
    return storedTrial(sampleRecord({ name, label }).spec, {
      settings: SAMPLE_SETTINGS,
      store,
      own,
      say,
      signal,
    });
  };
  const names = (results: (TrialRecord | null)[]) => results.map((record) => record?.spec.name ?? null);

  beforeEach(() => {
    delete process.env["OMP_NUM_THREADS"];
    said.length = 0;
    const folder = temporaryDirectory();
    writeFileSync(join(folder, "program.cjs"), PROGRAM);
    store = Store.open(folder, SAMPLE_SETTINGS, () => undefined);
    options = {
      jobs: 2,
      signal: new AbortController().signal,
      logs: join(folder, "logs"),
      say: (sentence) => said.push(sentence),
    };
  });

  it("runs every trial in a process of its own, with its share of the cores, and keeps what it gives", async () => {
    const { results, failures } = await runTrials([trial("a"), trial("b"), trial("c")], options);
    expect(names(results)).toEqual(["a", "b", "c"]);
    expect(failures).toEqual([]);
    expect(
      started()
        .map((line) => /^(\w) \d+$/.exec(line)?.[1])
        .sort(),
    ).toEqual(["a", "b", "c"]);
    expect(store.read(results[0]!.spec, () => undefined)).toEqual(results[0]);
    expect(said).toHaveLength(3);
    expect(said[2]).toMatch(/^ +3\/3 {2}[abc] +\d+ s/);
  });

  it("skips what is finished", async () => {
    store.write(sampleRecord({ name: "a", label: "works" }));
    const { results } = await runTrials([trial("a"), trial("b")], options);
    expect(names(results)).toEqual(["a", "b"]);
    expect(started()).toEqual([expect.stringMatching(/^b /)]);
    expect(said[0]).toBe("1 of 2 trials are finished already");
  });

  it("goes on after failures, and says what the trials said last", async () => {
    const seen: number[] = [];
    const trials = [trial("a", "fails"), trial("b"), trial("c", "says nothing")];
    const { results, failures } = await runTrials(trials, {
      ...options,
      jobs: 1,
      each: (soFar) => seen.push(soFar.length),
    });
    expect(names(results)).toEqual([null, "b", null]);
    expect(failures).toEqual([
      { name: "a", message: expect.stringMatching(/^OUT_OF_MEMORY: no room \(see .*a\.log\)$/) },
      { name: "c", message: expect.stringMatching(/^it left no result \(see .*c\.log\)$/) },
    ]);
    expect(readFileSync(join(store.directory, "logs", "a.log"), "utf8")).toMatch(/^something before\n/);
    expect(seen).toEqual([1, 1, 2]);
  });

  it("measures with any number of processes for one trial, and one that cannot be started is its failure", async () => {
    const pair = (program: string): Trial<number[]> => ({
      name: program,
      run: async (start) => [await start([program, "-p", "1"]), await start([program, "-p", "2"])],
      describe: (result) => result.join(),
    });
    const { signal, say } = options;
    const trials = [pair(process.execPath), pair("no-such-program")];
    const { results, failures } = await runTrials(trials, { jobs: 1, signal, say });
    expect(results).toEqual([[1, 2], null]);
    expect(failures).toEqual([
      { name: "no-such-program", message: expect.stringMatching(/no-such-program ENOENT/) },
    ]);
    expect(said[0]).toMatch(/1,2 {2}about 1 min left$/);
  });

  it("ends its processes when it is stopped, and keeps what is finished", async () => {
    const controller = new AbortController();
    const trials = [trial("a"), trial("b", "hangs"), trial("c")];
    const { results, failures } = await runTrials(trials, {
      ...options,
      signal: controller.signal,
      say: () => controller.abort(),
    });
    expect(names(results)).toEqual(["a", null, null]);
    expect(failures).toEqual([]);
  });
});
