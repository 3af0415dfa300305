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

/** A (A + s B)⁻¹ in plain numbers. */
function filterOf(erased: Matrix, held: Matrix, strength: number, floor: number): Matrix {
  const moment = (rows: Matrix): Matrix => times(product(transpose(rows), rows), 1 / rows.length);
  const other = moment(held);
  const width = other.length;
  const energy = other.reduce((sum, row, i) => sum + row[i]!, 0) / width;
  const own = plus(moment(erased), times(identity(width), floor * energy));
  return divideRight(own, plus(own, times(other, strength)));
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
    golden = await loadGolden("small");
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
          ...{ poolSize: 1, learningRate: 1e-2, spare, spareFloor: FLOOR },
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
      const filter = filterOf(await rows(phrased(["church"])), await rows(phrased(WORDS)), STRENGTH, FLOOR);
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
