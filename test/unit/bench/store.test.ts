import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Store } from "../../../bench/store";
import { SAMPLE_SETTINGS, sampleRecord } from "../../support/sample-results";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("a results folder", () => {
  let folder: string;
  const notices: string[] = [];
  const notice = (sentence: string): void => void notices.push(sentence);
  const open = (): Store => Store.open(folder, SAMPLE_SETTINGS, notice);

  beforeEach(() => {
    folder = join(temporaryDirectory(), "run");
    notices.length = 0;
  });

  it("gives back a finished trial, and none for another one of the same name", () => {
    const record = sampleRecord({ name: "a", options: { lambda: 1 } }, { counts: [] });
    open().write(record);
    expect(open().read(record.spec, notice)).toEqual(record);
    expect(open().read({ ...record.spec, options: { lambda: 2 } }, notice)).toBeNull();
    expect(open().read({ ...record.spec, name: "b" }, notice)).toBeNull();
    expect(notices).toEqual([]);
  });

  it("leaves nothing but the trial's file behind", () => {
    const store = open();
    const record = sampleRecord({ name: "a" });
    mkdirSync(store.workFolder(record.spec), { recursive: true });
    store.write(record);
    expect(readdirSync(join(folder, "trials"))).toEqual(["a.json"]);
    expect(readdirSync(join(folder, "work"))).toEqual([]);
  });

  it("sets a half-written trial aside, says so, and has it made again", () => {
    const record = sampleRecord({ name: "a" });
    const store = open();
    store.write(record);
    const half = readFileSync(store.path("a"), "utf8").slice(0, 40);
    writeFileSync(store.path("a"), half);
    expect(store.read(record.spec, notice)).toBeNull();
    expect(notices).toEqual([expect.stringMatching(/a\.json is damaged .* kept as .*a\.json\.damaged-/)]);
    const kept = readdirSync(join(folder, "trials")).find((name) => name.includes("damaged"))!;
    expect(readFileSync(join(folder, "trials", kept), "utf8")).toBe(half);
  });

  it("refuses to mix runs with other settings, naming them", () => {
    open();
    expect(() => Store.open(folder, { ...SAMPLE_SETTINGS, steps: 50 }, notice)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/steps was 20 and is now 50.*--out/),
      }),
    );
  });

  it("lets methods and experiments be added to a run", () => {
    open();
    expect(() => Store.open(folder, { ...SAMPLE_SETTINGS, methods: ["kpop"] }, notice)).not.toThrow();
  });
});
