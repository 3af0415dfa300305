import { erase } from "../../../../lib/erasure/erase";
import { filterFor } from "../../../../lib/erasure/shared/update-filter";
import { scope } from "../../../../lib/runtime/scope";
import { Tensor } from "../../../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import {
  divideRight,
  identity,
  matrix,
  minus,
  norm,
  plus,
  product,
  relativeDistance,
  times,
  transpose,
  type Matrix,
} from "../../../support/matrix";

const WORDS = ["temple", "castle", "radio", "dog"];
const PHRASINGS = [
  ...["{}", "a photo of a {}", "a picture of {}", "a painting of the {}", "{} in the style of art"],
  ...["many {}", "{} on a table", "a small red {}", "two of {} at night"],
];
const [STRENGTH, FLOOR] = [5, 0.2];

/** Rows of a text's token states in all its phrasings. */
type Rows = Matrix;

const moment = (rows: Rows): Matrix => times(product(transpose(rows), rows), 1 / rows.length);
const trace = (square: Matrix): number => square.reduce((sum, row, i) => sum + row[i]!, 0);
const weighed = (weights: number[], of: Matrix[]): Matrix =>
  of.map((one, at) => times(one, weights[at]!)).reduce((a, b) => plus(a, b));
const toOne = (weights: number[]): number[] => {
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
};
/** The share of a text's root mean square that passes. */
const passes = (filter: Matrix, rows: Rows): number => norm(product(rows, transpose(filter))) / norm(rows);

/** A (A + s B)⁻¹ in plain numbers, its weights balanced in some rounds, so that of the concepts 1 passes in the mean. */
function filterOf(erased: Rows[], held: Rows[], strength: number, floor: number, rounds = 15): Matrix {
  const [concepts, others] = [erased.map(moment), held.map(moment)];
  let [own, other] = [erased, held].map((texts) => toOne(texts.map(() => 1)));
  for (let round = 0; ; round++) {
    const B = weighed(other!, others);
    const energy = trace(B) / B.length;
    const A = plus(weighed(own!, concepts), times(identity(B.length), floor * energy));
    const filter = divideRight(A, plus(A, times(B, strength)));
    const shares = erased.map((rows) => passes(filter, rows));
    if (round === rounds) return times(filter, shares.length / shares.reduce((a, b) => a + b));
    own = toOne(own!.map((weight, at) => weight / shares[at]!));
    other = toOne(other!.map((weight, at) => weight * passes(filter, held[at]!)));
  }
}

describe("filterFor", () => {
  const states: Record<string, number[]> = { church: [2, 0, 0], kept: [0, 3, 0], dog: [0, 3, 0] };
  const job = {
    concepts: ["church"],
    preserve: ["kept"],
    neighbours: ["dog"],
    encode: (texts: readonly string[]) => {
      const rows = texts.map((text) => states[Object.keys(states).find((name) => text.includes(name))!]!);
      return Promise.resolve({ context: Tensor.from(rows.flat(), [texts.length, 1, 3]) });
    },
  };

  it("passes what the concept's states alone use and takes what the held ones alone use", async () => {
    const filter = await filterFor(job, { spare: 4, spareFloor: 0.1 });
    // E[c cᵀ] is 4 and 9 on its axis; the floor 0.1 of a mean of 3; so 4.3 / 4.3, 0.3 / (0.3 + 4 · 9) and 0.3 / 0.3.
    const expected = [
      [1, 0, 0],
      [0, 0.3 / 36.3, 0],
      [0, 0, 1],
    ];
    expect(relativeDistance(await matrix(filter!.matrix), expected)).toBeLessThan(1e-6);
    const at = (module: string): string => `mid_block.attentions.0.transformer_blocks.0.${module}.weight`;
    for (const reads of ["attn2.to_k", "attn2.to_v"]) expect(filter!.applies(at(reads))).toBe(true);
    for (const other of ["attn2.to_q", "attn1.to_v", "attn2.to_out.0"])
      expect(filter!.applies(at(other))).toBe(false);
  });

  it("lets as much pass of each concept, and holds the text that gives way most", async () => {
    const near: Record<string, number[]> = {
      church: [3.2, 0.8, 0.8, 0.1, -0.6, 0.4],
      horn: [3.8, 1.6, -0.4, -0.8, -0.4, 0],
      dog: [1.4, 0.8, -0.9, -0.5, -0.4, -0.2],
      cat: [3.3, 1.7, -0.1, 1, -0.5, 0.2],
      fish: [3.6, 1.1, -0.5, -0.6, -0.3, 0.2],
    };
    const [strength, floor] = [4, 0.05];
    const filter = await filterFor(
      {
        concepts: ["church", "horn"],
        preserve: [],
        neighbours: ["dog", "cat", "fish"],
        encode: (texts) =>
          Promise.resolve({
            context: Tensor.from(
              texts.flatMap((text) => near[Object.keys(near).find((name) => text.includes(name))!]!),
              [texts.length, 1, 6],
            ),
          }),
      },
      { spare: strength, spareFloor: floor },
    );
    const found = await matrix(filter!.matrix);
    const rows = (...names: string[]): Rows[] => names.map((name) => [near[name]!]);
    const [erased, held] = [rows("church", "horn"), rows("dog", "cat", "fish")];
    expect(relativeDistance(found, filterOf(erased, held, strength, floor))).toBeLessThan(1e-5);
    const spread = (of: Matrix, texts: Rows[]): number => {
      const shares = texts.map((text) => passes(of, text));
      return Math.max(...shares) / Math.min(...shares);
    };
    const even = filterOf(erased, held, strength, floor, 0);
    expect(spread(found, erased)).toBeLessThan(1.05);
    expect(spread(even, erased)).toBeGreaterThan(1.2);
    const worst = (of: Matrix): number => Math.max(...held.map((text) => passes(of, text)));
    expect(worst(found)).toBeLessThan(worst(even));
  });

  it("is none where no neighbours are kept or nothing is to be spared", async () => {
    expect(await filterFor({ ...job, neighbours: [] }, { spare: 4 })).toBeNull();
    expect(await filterFor(job, { spare: 0 })).toBeNull();
  });

  it("stops on a signal", async () => {
    const stopped = filterFor({ ...job, signal: AbortSignal.abort() }, { spare: 4 });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("sparing what the held prompts read", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  it.each(["kpop", "esd"] as const)(
    "multiplies a step of %s by the filter, and other weights' by nothing",
    async (method) => {
      const { model } = golden;
      const step = async (spare: number): Promise<Map<string, Matrix>> => {
        const erasure = await erase(model, {
          ...{
            method,
            concepts: "church",
            neighbours: { words: WORDS },
            seed: 3,
            iterations: 1,
            samplingSteps: 4,
          },
          ...{ poolSize: 1, learningRate: 1e-2, parameters: "xattn", spare, spareFloor: FLOOR },
        });
        const steps = new Map<string, Matrix>();
        for (const name of erasure.model.changed) {
          const [after, before] = [erasure.model.unet, model.unet].map((unet) => unet.parameter(name));
          if (after!.shape.length === 2) steps.set(name, minus(await matrix(after!), await matrix(before!)));
        }
        erasure.dispose();
        return steps;
      };
      const rows = (texts: string[]): Promise<Matrix> =>
        scope(async () => {
          const { context } = await model.condition(texts);
          return matrix(context.reshape([context.size / context.shape[2]!, context.shape[2]!]));
        });
      const phrased = (names: string[]): string[] =>
        names.flatMap((name) => PHRASINGS.map((phrasing) => phrasing.replace("{}", name)));
      const each = (names: string[]): Promise<Rows[]> =>
        Promise.all(names.map((name) => rows(phrased([name]))));
      const filter = filterOf(await each(["church"]), await each(WORDS), STRENGTH, FLOOR);
      const [plain, filtered] = [await step(0), await step(STRENGTH)];
      let seen = 0;
      for (const [name, full] of plain) {
        const reads = /attn2\.to_[kv]\.weight$/.test(name);
        if (reads) seen++;
        expect(norm(full)).toBeGreaterThan(0);
        // Both steps are differences of float32 weights, near 1, by about 1e-2.
        expect(relativeDistance(filtered.get(name)!, reads ? product(full, filter) : full)).toBeLessThan(
          1e-4,
        );
      }
      expect(seen).toBeGreaterThan(0);
      expect(seen).toBeLessThan(plain.size);
    },
  );
});
