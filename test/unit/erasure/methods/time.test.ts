import { erase } from "../../../../lib/erasure/erase";
import type { TimeOptions } from "../../../../lib/erasure/methods/time";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import {
  divideRight,
  identity,
  matrix,
  minus,
  plus,
  product,
  relativeDistance,
  times,
  transpose,
  type Matrix,
} from "../../../support/matrix";

const L = 77;
const LAYER = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight";

/** Rows of a text, and the rows of the other text that they go to. */
type Pair = [source: string, target: string, rows: [from: number, to: number][]];

/** Row by row from `first` on, the other text's `shift` rows further; row 76 is the last. */
const onward = (first: number, shift: number): [number, number][] =>
  Array.from({ length: L - first }, (_, i) => [first + i, Math.min(first + i + shift, L - 1)]);

// Rows counted by hand: the start token is row 0, and each word here is one token.
const WALKED: Pair = ["old church", "old red church", [[0, 0], [1, 1], ...onward(2, 1)]]; // prettier-ignore
const cases: [string, Partial<TimeOptions>, Pair[], string[]][] = [
  [
    "a target that has the concept's words",
    { concepts: "old church", target: "old red church", augment: false },
    [WALKED],
    [],
  ],
  [
    "a target that goes on behind the concept's words, end token to end token",
    { concepts: "a church", target: "a church at night", augment: false },
    [["a church", "a church at night", [[0, 0], [1, 1], [2, 2], ...onward(3, 2)]]],
    [],
  ],
  [
    "an article that changes, and three prefixes, whose article is in lower case",
    { concepts: "A church", target: "An old church" },
    [
      ["A church", "An old church", [[0, 0], [1, 1], ...onward(2, 1)]],
      ...["A photo of", "An image of", "A picture of"].map((prefix): Pair => {
        const [source, target] = [`${prefix} a church`, `${prefix} an old church`];
        return [source, target, [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4], ...onward(5, 1)]];
      }),
    ],
    [],
  ],
  [
    "a concept that is to go, from its last token on",
    { concepts: "old church", target: "", augment: false },
    [["old church", "", Array.from({ length: L - 2 }, (_, i) => [2 + i, i])]],
    [],
  ],
  [
    "prompts to preserve, all their rows",
    {
      concepts: "old church",
      target: "old red church",
      augment: false,
      preserve: ["a dog"],
      preserveScale: 0.5,
    },
    [WALKED],
    ["a dog"],
  ],
];

describe("TIME", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());
  const states = async (text: string): Promise<Matrix> =>
    matrix((await golden.model.encode(text)).squeeze(0).to("float64"));

  it.each(cases)(
    "edits %s to the minimiser of its objective, within 1e-5",
    async (_, options, pairs, held) => {
      const lambda = 0.1;
      const erasure = await erase(golden.model, {
        ...{ concepts: "", neighbours: "off" },
        ...options,
        ...{ method: "time", lambda },
      });
      const before = await matrix(golden.model.unet.parameter(LAYER).to("float64"));
      const keys: (readonly number[])[] = [];
      const targets: (readonly number[])[] = [];
      for (const [source, target, rows] of pairs) {
        const [from, to] = [await states(source), await states(target)];
        for (const [at, other] of rows) {
          keys.push(from[at]!);
          targets.push(to[other]!);
        }
      }
      const kept = (await Promise.all(held.map(states))).flat();
      // W' (λI + Σ k kᵀ + r Σ h hᵀ) = λW + Σ W k* kᵀ + r Σ W h hᵀ
      const gram = (a: Matrix, b: Matrix): Matrix => product(transpose(a), b);
      const scale = options.preserveScale ?? 1;
      const width = before[0]!.length;
      const none = times(identity(width), 0);
      const retained = kept.length === 0 ? none : times(gram(kept, kept), scale);
      const system = plus(plus(times(identity(width), lambda), gram(keys, keys)), retained);
      const right = plus(times(before, lambda), product(before, plus(gram(targets, keys), retained)));
      const after = await matrix(erasure.model.unet.parameter(LAYER).to("float64"));
      const expected = divideRight(right, system);
      expect(relativeDistance(minus(after, before), minus(expected, before))).toBeLessThan(1e-5);
      expect(erasure.history).toHaveLength(erasure.manifest.changedParameters);
      expect(erasure.manifest.unetEvaluations).toBe(0);
      erasure.dispose();
    },
  );

  it("refuses texts that the model would not read to their end, before or behind a prefix", async () => {
    const words = (count: number): string => Array<string>(count).fill("church").join(" ");
    for (const [concept, target] of [
      [words(73), `blue ${words(73)}`],
      [words(80), `${words(80)} blue`],
      ["church", words(80)],
    ] as const)
      for (const alignment of ["auto", "walk", "tail"] as const)
        await expect(
          erase(golden.model, { method: "time", concepts: concept, target, alignment }),
        ).rejects.toMatchObject({
          code: "INVALID_ARGUMENT",
          message: expect.stringMatching(/subject within the 77 tokens .* shorten it/) as string,
        });
  });

  it("refuses to walk where the target has not the concept's tokens in their order, by name", async () => {
    const run = erase(golden.model, { method: "time", concepts: "church", target: "dog", alignment: "walk" });
    await expect(run).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/target.*tokens of "church" in their order/) as string,
    });
  });
});
