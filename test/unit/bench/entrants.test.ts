import {
  COMPARED,
  entrantOf,
  keptBy,
  knownTo,
  METHOD_NAMES,
  methodOf,
  ROWS,
  titleOf,
} from "../../../bench/entrants";
import { candidateOptions, candidatesOf, styleOptions } from "../../../bench/method-options";
import { mainTrials, searchTrials } from "../../../bench/plan";
import { pocket } from "../../../bench/protocols/pocket";
import type { Protocol } from "../../../bench/protocols/protocol";
import { stableDiffusion } from "../../../bench/protocols/stable-diffusion";
import { methodNamed } from "../../../lib/erasure/registry";
import { lookOf } from "../../../bench/report/looks";
import { colourOf, symbolOf } from "../../../lib/report/page/palette";
import { SAMPLE_SETTINGS } from "../../support/sample-results";

const nothingNamed = (protocol: Protocol): Protocol => ({ ...protocol, entrants: {} });

describe("the methods of the benchmark", () => {
  it("have a name, a colour and a shape each, that no other has", () => {
    expect(COMPARED[0]).toBe("kpop");
    for (const method of COMPARED)
      expect(knownTo(method, entrantOf(method) || {})).toEqual(entrantOf(method));
    const shown = (row: string) => `${colourOf(lookOf(row))} ${symbolOf(lookOf(row))}`;
    const looks = ROWS.map((row) => `${titleOf(row)} ${shown(row)}`);
    expect(new Set(looks.map((look) => look.replace(/.*(?=var)/, ""))).size).toBe(ROWS.length);
    expect(looks.slice(0, 2)).toEqual([
      "KPOP var(--series-0) circle",
      "KPOP + neighbours var(--series-0) diamond",
    ]);
  });

  it("that change weights have a row as published, and one that keeps neighbours", () => {
    expect([...new Set(ROWS.map(methodOf))]).toEqual(METHOD_NAMES);
    for (const method of METHOD_NAMES) {
      const own = ROWS.filter((row) => methodOf(row) === method).map(keptBy);
      const rows = methodNamed(method).kind === "inference" ? 1 : 2;
      expect(own).toEqual(rows === 1 ? [{}] : [{ neighbours: "off" }, { neighbours: "nearest" }]);
    }
    expect([methodOf("mace-neighbours"), keptBy("original")]).toEqual(["mace-neighbours", {}]);
  });

  it("that are not registered are called what they are called, and are muted", () => {
    expect([titleOf("mace"), colourOf(lookOf("mace"))]).toEqual(["mace", "var(--muted)"]);
  });

  it.each([pocket, stableDiffusion])(
    "have every option that a protocol names: %#",
    ({ entrants, tracking }) => {
      for (const [method, { base = {}, candidates = [], styles = {} }] of Object.entries(entrants)) {
        for (const options of [base, styles, ...candidates.map((one) => one.options)])
          expect(knownTo(method, options)).toEqual(options);
      }
      expect(METHOD_NAMES).toEqual(expect.arrayContaining([...tracking.methods]));
    },
  );

  it.each([pocket, stableDiffusion])("run without a word of them in the protocol: %#", (protocol) => {
    const settings = { ...SAMPLE_SETTINGS, methods: [...METHOD_NAMES] };
    const search = searchTrials(nothingNamed(protocol), settings);
    const trials = [...search, ...mainTrials(nothingNamed(protocol), settings, [])];
    for (const method of METHOD_NAMES) {
      const objects = trials.filter((spec) => spec.experiment === "objects" && spec.method === method);
      expect(objects).toHaveLength(4);
      const entrant = protocol === pocket ? entrantOf(method) || {} : {};
      for (const { options } of objects) expect(options).toMatchObject(entrant);
    }
    expect(trials.find(({ name }) => name === "objects-task-vector-v1")!.options).toEqual({
      neighbours: "off",
    });
  });

  it("try learning rates around their own where the protocol names no tries", () => {
    const named: Protocol = { ...pocket, entrants: { esd: { base: { learningRate: 3e-4 } } } };
    expect(candidatesOf(named, "esd").map(({ options }) => options["learningRate"])).toEqual([
      3e-4, 1.5e-4, 6e-4, 1.2e-3,
    ]);
    expect(candidatesOf(named, "uce")).toEqual([{ label: "defaults", options: {} }]);
    expect(candidateOptions(named, SAMPLE_SETTINGS, "esd", 2)).toEqual({
      learningRate: 6e-4,
      neighbours: "off",
    });
  });

  it("have what a protocol says of a method in both rows, unless it speaks of one of them", () => {
    const esd = { base: { iterations: 5 }, candidates: [{ label: "a", options: {} }] };
    const named: Protocol = { ...pocket, entrants: { esd } };
    for (const row of ["esd", "esd-neighbours"])
      expect(candidateOptions(named, SAMPLE_SETTINGS, row, 0)).toEqual({ ...esd.base, ...keptBy(row) });
    const own: Protocol = { ...pocket, entrants: { esd, "esd-neighbours": { base: { iterations: 7 } } } };
    expect(candidateOptions(own, SAMPLE_SETTINGS, "esd-neighbours", 0)["iterations"]).toBe(7);
    expect(candidateOptions(own, SAMPLE_SETTINGS, "esd", 0)["iterations"]).toBe(5);
  });

  it("are told what a protocol says of styles and of quick runs as far as they have the options", () => {
    const quick = { ...SAMPLE_SETTINGS, quick: true };
    const bare = nothingNamed(pocket);
    expect(candidateOptions(bare, quick, "task-vector", 0)).toEqual({
      ...{ iterations: 30, images: 16 },
      neighbours: "off",
    });
    expect(candidateOptions(bare, quick, "uce", 0)).toEqual({
      ...(entrantOf("uce") || {}),
      neighbours: "off",
    });
    expect(styleOptions(pocket, "ca")).toEqual({ ...pocket.styles!.options, anchor: "any style" });
    expect(styleOptions(stableDiffusion, "ca")).toEqual({});
  });
});
