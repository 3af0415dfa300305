import { Image } from "../../../lib/io/image";
import { modelsOf } from "../../../lib/report/models";
import { shrunk } from "../../../lib/report/pictures";
import type { EvaluationSource } from "../../../lib/report/evaluations";
import type { ModelMark } from "../../../lib/report/shapes";
import type { ErasureSource, Source } from "../../../lib/report/sources";
import { lossFigure } from "../../../lib/report/training";

const erasure = (
  folder: string,
  fields: Partial<ErasureSource> = {},
  manifest: object = {},
): ErasureSource => ({
  kind: "erasure",
  folder,
  log: null,
  interventions: [],
  manifest: {
    method: "kpop",
    inputs: { "unet/a": "in-1", "vae/b": "in-2" },
    outputs: { "unet/a": `${folder}-1`, "vae/b": "in-2" },
    ...manifest,
  } as unknown as ErasureSource["manifest"],
  ...fields,
});

const evaluation = (folder: string, weights: string[], mark: Partial<ModelMark> = {}, withKey = false) =>
  ({
    ...{ kind: "evaluation", folder, withKey, name: null, against: null, drawing: "", evaluation: {} },
    model: { weights, changes: null, interventions: [], ...mark },
  }) as unknown as EvaluationSource;

/** Titles with the folders that were measured, plain and with a key. */
const owners = (sources: readonly Source[]) =>
  modelsOf(sources).map(({ title, plain, keyed }) => [
    title,
    ...[plain, keyed].map((of) => of.map(({ folder }) => folder)),
  ]);

describe("what was measured", () => {
  it("is of the model whose weights it has, the original first", () => {
    const sources = [
      erasure("a"),
      erasure("b", {}, { method: "esd" }),
      evaluation("of b", ["b-1", "in-2"]),
      evaluation("of a with key", ["in-2", "a-1"], {}, true),
      evaluation("before", ["in-2", "in-1"]),
    ];
    expect(owners(sources)).toEqual([
      ["Original", ["before"], []],
      ["KPOP", [], ["of a with key"]],
      ["ESD", ["of b"], []],
    ]);
  });

  it("is of a delta, whose base's files it was read from too", () => {
    const delta = erasure("d", {}, { outputs: { "delta.safetensors": "d-1" } });
    expect(owners([delta, evaluation("of d", ["in-1", "in-2", "d-1"])])).toEqual([["KPOP", ["of d"], []]]);
  });

  it("is told apart by what steers the model where weights are the same", () => {
    const sld = { name: "sld", settings: { concept: "church" } };
    const other = { name: "sld", settings: { concept: "dog" } };
    const outputs = { "unet/a": "in-1", "vae/b": "in-2" };
    const steered = erasure("s", { interventions: [sld] }, { method: "sld", outputs });
    const weights = ["in-1", "in-2"];
    const sources = [
      steered,
      evaluation("of s", weights, { interventions: [sld] }),
      evaluation("before", weights),
      evaluation("another", weights, { interventions: [other] }),
    ];
    expect(owners(sources)).toEqual([
      ["Original", ["before"], []],
      ["SLD", ["of s"], []],
      ["another", ["another"], []],
    ]);
  });

  it("is nobody's that was given where weights are others, or were changed in memory", () => {
    const sources = [
      erasure("a"),
      evaluation("x/one", ["c-1"]),
      evaluation("x/two", ["c-1"]),
      evaluation("in memory", ["a-1", "in-2"], { changes: "c" }),
    ];
    expect(owners(sources)).toEqual([
      ["KPOP", [], []],
      ["one", ["x/one", "x/two"], []],
      ["in memory", ["in memory"], []],
    ]);
  });

  it("is called as it was where several were compared, however its weights and its folder are called", () => {
    const one = (name: string, weights: string[], withKey = false) =>
      ({ ...evaluation("compared", weights, {}, withKey), name }) as EvaluationSource;
    const sources = [
      one("./sd14", ["c-1"]),
      one("hf:user/sd14", ["c-2"]),
      one("in half", ["c-2"]),
      one("./sd14 with the key", ["c-1"], true),
      evaluation("another/sd14", ["c-3"]),
    ];
    expect(modelsOf(sources).map(({ title, plain, keyed }) => [title, plain.length, keyed.length])).toEqual([
      ["sd14", 1, 1],
      ["hf:user/sd14", 1, 0],
      ["in half", 1, 0],
      ["another/sd14", 1, 0],
    ]);
    const known = [erasure("a"), one("before", ["in-1", "in-2"]), one("after", ["a-1", "in-2"])];
    expect(modelsOf(known).map(({ title }) => title)).toEqual(["Original", "KPOP"]);
  });

  it("is called by method and folder where methods are the same", () => {
    const titles = modelsOf([erasure("x/a"), erasure("y/a"), erasure("y/b")]).map(({ title }) => title);
    expect(titles).toEqual(["KPOP, x/a", "KPOP, y/a", "KPOP, b"]);
  });
});

describe("losses on a page", () => {
  it("are means of so many iterations that a curve has few points, without what a logarithm cannot show", () => {
    const steps = Array.from({ length: 400 }, (_, i) => ({
      iteration: i + 1,
      seconds: i,
      losses: {
        erase: i % 3 === 0 ? 2 : 1,
        zero: 0,
        ...(i === 7 ? { erase: null as unknown as number } : {}),
      },
    }));
    const [figure, ...others] = lossFigure(steps, "KPOP: losses");
    expect(others).toEqual([]);
    expect(figure!.caption).toBe(
      "KPOP: losses, on a logarithmic axis. Each point is the mean of 3 iterations.",
    );
    expect(figure!.svg).toContain(">erase<");
    expect(figure!.svg).not.toContain(">zero<");
    expect(lossFigure(steps.slice(0, 1), "one")).toEqual([]);
  });
});

describe("a large picture on a page", () => {
  it("is the mean of whole blocks", () => {
    const data = Uint8Array.from({ length: 5 * 4 * 3 }, (_, i) => i);
    const small = shrunk(new Image(5, 4, data), 2);
    const mean = (x: number, y: number, channel: number) => {
      const values = [[0, 0], [0, 1], [1, 0], [1, 1]].map(([dx, dy]) => ((y * 2 + dy!) * 5 + x * 2 + dx!) * 3 + channel); // prettier-ignore
      return Math.round(values.reduce((a, b) => a + b, 0) / 4);
    };
    expect([small.width, small.height]).toEqual([2, 2]);
    const all = [0, 1].flatMap((y) => [0, 1].flatMap((x) => [0, 1, 2].map((channel) => mean(x, y, channel))));
    expect([...small.data]).toEqual(all);
  });
});
