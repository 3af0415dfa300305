import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runTrials, type RunnerOptions } from "../../../bench/runner";
import { Store } from "../../../bench/store";
import { SAMPLE_SETTINGS, sampleRecord } from "../../support/sample-results";
import { temporaryDirectory } from "../../support/temporary-directory";

/** Stands for the benchmark's own program: leaves a trial's file, or fails as the trial's label says. */
const PROGRAM = `
const { appendFileSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");
const { directory, spec } = JSON.parse(process.argv[3]);
appendFileSync(join(directory, "started.txt"), spec.name + " " + process.env.OMP_NUM_THREADS + "\\n");
if (spec.label === "fails") {
  console.error("something before\\nOUT_OF_MEMORY: no room");
  process.exit(1);
}
if (spec.label === "hangs") setInterval(() => {}, 1000);
else writeFileSync(join(directory, "trials", spec.name + ".json"), JSON.stringify({ spec, wallSeconds: 1 }));
`;

describe("the runner", () => {
  const said: string[] = [];
  let store: Store;
  let options: RunnerOptions;
  const started = (): string[] =>
    readFileSync(join(store.directory, "started.txt"), "utf8").trim().split("\n");
  const spec = (name: string, label = "works") => sampleRecord({ name, label }).spec;

  beforeEach(() => {
    delete process.env["OMP_NUM_THREADS"];
    said.length = 0;
    const folder = temporaryDirectory();
    const program = join(folder, "program.cjs");
    writeFileSync(program, PROGRAM);
    store = Store.open(folder, SAMPLE_SETTINGS, () => undefined);
    options = {
      program,
      jobs: 2,
      later: 0,
      signal: new AbortController().signal,
      say: (sentence) => said.push(sentence),
    };
  });

  it("runs every trial in a process of its own, with its share of the cores", async () => {
    const { records, failures } = await runTrials(
      ["a", "b", "c"].map((name) => spec(name)),
      SAMPLE_SETTINGS,
      store,
      options,
    );
    expect(records.map((record) => record.spec.name)).toEqual(["a", "b", "c"]);
    expect(failures).toEqual([]);
    const names = started().map((line) => /^(\w) \d+$/.exec(line)?.[1]);
    expect(names.sort()).toEqual(["a", "b", "c"]);
  });

  it("skips what is finished", async () => {
    store.write(sampleRecord({ name: "a", label: "works" }));
    const { records } = await runTrials([spec("a"), spec("b")], SAMPLE_SETTINGS, store, options);
    expect(records).toHaveLength(2);
    expect(started()).toEqual([expect.stringMatching(/^b /)]);
    expect(said[0]).toBe("1 of 2 trials are finished already");
  });

  it("goes on after a failure, and says what the trial said last", async () => {
    const { records, failures } = await runTrials(
      [spec("a", "fails"), spec("b")],
      SAMPLE_SETTINGS,
      store,
      options,
    );
    expect(records.map((record) => record.spec.name)).toEqual(["b"]);
    expect(failures).toEqual([
      { name: "a", message: expect.stringMatching(/^OUT_OF_MEMORY: no room \(see .*a\.log\)$/) },
    ]);
  });

  it("ends its processes when it is stopped, and keeps what is finished", async () => {
    const controller = new AbortController();
    const specs = [spec("a"), spec("b", "hangs"), spec("c")];
    const { records, failures } = await runTrials(specs, SAMPLE_SETTINGS, store, {
      ...options,
      signal: controller.signal,
      say: () => controller.abort(),
    });
    expect(records.map((record) => record.spec.name)).toEqual(["a"]);
    expect(failures).toEqual([]);
  });
});
