import { COMPARED } from "../../../bench/entrants";
import { choose, mainTrials, searchTrials } from "../../../bench/plan";
import { pocket } from "../../../bench/protocols/pocket";
import { SPLITS, type Protocol } from "../../../bench/protocols/protocol";
import { stableDiffusion } from "../../../bench/protocols/stable-diffusion";
import { attackNamed } from "../../../lib/internal";
import type { Settings, TrialRecord } from "../../../bench/results";
import { SAMPLE_SETTINGS, sampleCounts, sampleRecord } from "../../support/sample-results";

const settings: Settings = { ...SAMPLE_SETTINGS };

/** The search's trials as if each had found this. */
function found(of: (name: string) => [number, number]): TrialRecord[] {
  return searchTrials(pocket, settings).map((spec) =>
    sampleRecord(spec, { counts: sampleCounts(spec.erased, spec.preserved, of(spec.name)) }),
  );
}

describe("the plan", () => {
  it.each<[string, Protocol]>([
    ["pocket", pocket],
    ["stable-diffusion", stableDiffusion],
  ])("of %s gives every trial a name of its own", (_name, protocol) => {
    const names = [...searchTrials(protocol, settings), ...mainTrials(protocol, settings, [])].map(
      ({ name }) => name,
    );
    expect(names.length).toBeGreaterThan(20);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z0-9.-]+$/);
  });

  it.each([pocket, stableDiffusion])("attacks with options that the attacks have: %#", (protocol) => {
    const { attacks } = protocol.robustness!;
    expect(attacks.length).toBeGreaterThan(2);
    for (const { name, options, quick } of attacks)
      expect(Object.keys(attackNamed(name).options)).toEqual(
        expect.arrayContaining([...Object.keys(options), ...Object.keys(quick)]),
      );
  });

  it("erases five of ten classes in each split, every class in two of the four", () => {
    const erased = Object.values(SPLITS).flat();
    for (const places of Object.values(SPLITS)) expect(new Set(places).size).toBe(5);
    for (let place = 0; place < 10; place++) expect(erased.filter((one) => one === place)).toHaveLength(2);
  });

  it("searches on classes that are in no split, with as many tries for every method", () => {
    const { erased, preserved } = pocket.tuning!;
    for (const name of [...erased, ...preserved]) expect(pocket.classes).not.toContain(name);
    const search = searchTrials(pocket, settings);
    const tries = settings.methods.map((method) => search.filter(({ method: own }) => own === method).length);
    expect(new Set(tries)).toEqual(new Set([4]));
  });

  it.each([pocket, stableDiffusion])(
    "runs a method as published and with neighbours, with the same tries and trials: %#",
    (protocol) => {
      const rows = { ...settings, methods: ["esd", "esd-neighbours", "sld"] };
      const all = [...searchTrials(protocol, rows), ...mainTrials(protocol, rows, [])];
      const of = (row: string): object[] =>
        all
          .filter(({ method }) => method === row)
          .map(({ name, method, options, ...rest }) => {
            expect(name).toContain(row);
            expect(options["neighbours"]).toBe(method === "esd" ? "off" : "nearest");
            // Kept words hold the concept back too, so that rates are higher beside them.
            return { ...rest, label: "", options: { ...options, neighbours: "", learningRate: 0 } };
          });
      const [published, kept] = [of("esd"), of("esd-neighbours")];
      // Who is tracked along training is the protocol's to say.
      expect(published.filter((spec) => !JSON.stringify(spec).includes('"tracking"'))).toEqual(kept);
      expect(kept.length).toBeGreaterThan(5);
      for (const { options } of all.filter(({ method }) => method === "sld"))
        expect(options).not.toHaveProperty("neighbours");
    },
  );

  it("uses in every split the options of the try with the best balance", () => {
    const search = found((name) => (name === "tune-esd-3" ? [1, 18] : [10, 10]));
    expect(choose(search)["esd"]).toBe("tune-esd-3");
    expect(choose(search)["kpop"]).toBe("tune-kpop-1");
    const esd = mainTrials(pocket, settings, search).filter(
      ({ method, experiment }) => method === "esd" && experiment === "objects",
    );
    expect(esd).toHaveLength(4);
    for (const { options } of esd) expect(options).toEqual(search.find(({ spec }) => spec.name === "tune-esd-3")!.spec.options); // prettier-ignore
  });

  it("runs KPOP's unchanged setting once for all the values that it has already", () => {
    const ablations = mainTrials(pocket, settings, found(() => [10, 10])).filter(({ experiment }) => experiment === "ablations"); // prettier-ignore
    const unchanged = ablations.find(({ name }) => name === "ablation-unchanged")!;
    expect(unchanged.axes).toEqual([
      { name: "mechanism", value: "concat" },
      { name: "k", value: 10 },
      { name: "layers", value: "all" },
      { name: "lambda", value: 0.1 },
      { name: "latents", value: "pool" },
      { name: "neighbours", value: "off" },
      { name: "preserve", value: "nothing" },
    ]);
    const others = ablations.filter((spec) => spec !== unchanged);
    for (const { axes } of others) expect(axes).toHaveLength(1);
    const all = new Set(ablations.map(({ options, preserve }) => JSON.stringify([options, preserve])));
    expect(all.size).toBe(ablations.length);
  });

  it("tries the free key and the amortised one on one concept, and the free one beside neighbours on several", () => {
    const asked: Settings = {
      ...settings,
      experiments: ["key"],
      methods: ["kpop", "kpop-neighbours", "esd"],
    };
    const told = mainTrials(pocket, asked, []).map(({ name, method, erased, preserved, options }) => [
      ...[name, method, erased.length, preserved.length],
      ...[options["neighbours"], (options["prompt"] as { form?: string } | undefined)?.form],
    ]);
    expect(told).toEqual([
      ["key-kpop-one", "kpop", 1, 9, "off", "free"],
      ["key-kpop-beside-neighbours-one", "kpop", 1, 9, "nearest", "free"],
      ["key-kpop-beside-neighbours-v1", "kpop", 5, 5, "nearest", "free"],
      ["key-kpop-neighbours-one", "kpop-neighbours", 1, 9, "nearest", undefined],
    ]);
    expect(mainTrials(pocket, { ...asked, methods: ["esd"] }, [])).toEqual([]);
  });

  it("keeps a quick run small", () => {
    const quick = { ...settings, quick: true, methods: [...COMPARED] };
    const count = searchTrials(pocket, quick).length + mainTrials(pocket, quick, []).length;
    expect(count).toBeLessThan(25);
    for (const { options } of searchTrials(pocket, quick)) {
      expect(options["iterations"] ?? 0).toBeLessThanOrEqual(pocket.quick.iterations);
      expect(options["images"] ?? 0).toBeLessThanOrEqual(pocket.quick.images);
    }
  });

  it("uses in a quick run the options of the one try, whichever rows it is made for", () => {
    const quick: Settings = { ...settings, quick: true, methods: ["kpop", "kpop-neighbours", "esd"] };
    const search = searchTrials(pocket, quick);
    expect(search.map(({ name }) => name)).toEqual(["tune-kpop-4", "tune-kpop-neighbours-4"]);
    const alone = searchTrials(pocket, { ...quick, methods: ["esd"] });
    const objects = mainTrials(pocket, quick, []).find(({ name }) => name === "objects-esd-v1")!;
    expect(alone.map(({ options }) => options)).toEqual([objects.options]);
  });

  it("searches for no options where only the digits are asked for, which bring their own model", () => {
    const alone: Settings = { ...settings, experiments: ["digits"] };
    expect(searchTrials(pocket, alone)).toEqual([]);
    expect(mainTrials(pocket, alone, []).map(({ name }) => name)).toEqual(["digits-3"]);
    expect(searchTrials(pocket, { ...alone, experiments: ["digits", "objects"] })).toHaveLength(16);
  });

  it("leaves out what was not asked for", () => {
    const trials = mainTrials(pocket, { ...settings, experiments: ["objects"], methods: ["uce"] }, []);
    expect(new Set(trials.map(({ experiment }) => experiment))).toEqual(new Set(["objects"]));
    expect(new Set(trials.map(({ method }) => method))).toEqual(new Set(["original", "uce"]));
  });
});
