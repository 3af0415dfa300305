import { CONCEPT_PAIRS } from "../../../lib/attack/concept-pairs";
import { conceptVector, type ConceptPair } from "../../../lib/attack/concept-vector";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";

describe("conceptVector", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  /** Text by text, by the networks themselves, summed on the JS thread. */
  async function byHand(pairs: readonly ConceptPair[]): Promise<number[]> {
    const { tokenizer, textEncoder } = golden.model;
    const encode = async (text: string): Promise<number[]> => {
      const ids = tokenizer.encode(text)[0]!;
      const states = await textEncoder.forward(Tensor.from(ids, [1, ids.length], { dtype: "int64" }));
      return Array.from(await states.data(), Number);
    };
    let sum: number[] = [];
    for (const [given, without] of pairs) {
      const [a, b] = [await encode(given), await encode(without)];
      sum = a.map((value, i) => (sum[i] ?? 0) + value - b[i]!);
    }
    return sum.map((value) => value / pairs.length);
  }

  it.each([1, 3, 30])("is the mean difference of the embeddings of %i pairs, row by row", async (count) => {
    const pairs = CONCEPT_PAIRS.slice(0, count).map(([given, without]): ConceptPair => [
      given.replace("{}", "church"),
      without,
    ]);
    const vector = await conceptVector(golden.model, pairs);
    expect(vector.dtype).toBe("float32");
    expect(await relativeError(vector, Tensor.from(await byHand(pairs), [77, 32]))).toBeLessThan(1e-5);
  });

  it("takes thirty different pairs by default, each naming the concept once, on one side", () => {
    expect(CONCEPT_PAIRS).toHaveLength(30);
    expect(new Set(CONCEPT_PAIRS.map(([given]) => given)).size).toBe(30);
    for (const [given, without] of CONCEPT_PAIRS) {
      expect(given.split("{}")).toHaveLength(2);
      expect(without).not.toContain("{}");
    }
  });
});
