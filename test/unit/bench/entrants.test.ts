import { COMPARED, entrantOf, knownTo, METHOD_NAMES, titleOf } from "../../../bench/entrants";
import { candidateOptions, candidatesOf, styleOptions } from "../../../bench/method-options";
import { mainTrials, searchTrials } from "../../../bench/plan";
import { pocket } from "../../../bench/protocols/pocket";
import type { Protocol } from "../../../bench/protocols/protocol";
import { stableDiffusion } from "../../../bench/protocols/stable-diffusion";
import { colourOf, symbolOf } from "../../../bench/report/palette";
import { SAMPLE_SETTINGS } from "../../support/sample-results";

const nothingNamed = (protocol: Protocol): Protocol => ({ ...protocol, entrants: {} });

describe("the methods of the benchmark", () => {
  it("have a name, a colour and a shape each, that no other has", () => {
    expect(COMPARED[0]).toBe("kpop");
    for (const method of COMPARED)
      expect(knownTo(method, entrantOf(method) || {})).toEqual(entrantOf(method));
    const looks = METHOD_NAMES.map((method) => `${titleOf(method)} ${colourOf(method)} ${symbolOf(method)}`);
    expect(new Set(looks).size).toBe(METHOD_NAMES.length);
    expect(looks[0]).toBe("KPOP var(--series-0) circle");
  });

  it("that are not registered are called what they are called, and are muted", () => {
    expect([titleOf("mace"), colourOf("mace")]).toEqual(["mace", "var(--muted)"]);
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
    expect(trials.find(({ name }) => name === "objects-task-vector-v1")!.options).toEqual({});
  });

  it("try learning rates around their own where the protocol names no tries", () => {
    const named: Protocol = { ...pocket, entrants: { esd: { base: { learningRate: 3e-4 } } } };
    expect(candidatesOf(named, "esd").map(({ options }) => options["learningRate"])).toEqual([
      3e-4, 1.5e-4, 6e-4, 1.2e-3,
    ]);
    expect(candidatesOf(named, "uce")).toEqual([{ label: "defaults", options: {} }]);
    expect(candidateOptions(named, SAMPLE_SETTINGS, "esd", 2)).toEqual({ learningRate: 6e-4 });
  });

  it("are told what a protocol says of styles and of quick runs as far as they have the options", () => {
    const quick = { ...SAMPLE_SETTINGS, quick: true };
    const bare = nothingNamed(pocket);
    expect(candidateOptions(bare, quick, "task-vector", 0)).toEqual({ iterations: 30, images: 16 });
    expect(candidateOptions(bare, quick, "uce", 0)).toEqual(entrantOf("uce"));
    expect(styleOptions(pocket, "ca")).toEqual({ ...pocket.styles!.options, anchor: "any style" });
    expect(styleOptions(stableDiffusion, "ca")).toEqual({});
  });
});
