import { erase } from "../../../../lib/erasure/erase";
import type { SpeedOptions } from "../../../../lib/erasure/methods/speed";
import { kMeans } from "../../../../lib/erasure/shared/k-means";
import { Random } from "../../../../lib/runtime/random";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";
import {
  matrix,
  minus,
  norm,
  product,
  relativeDistance,
  transpose,
  type Matrix,
} from "../../../support/matrix";
import { referenceSpeed } from "../../../support/reference-speed";

const L = 77;
const SEED = 5;
const MIDDLE = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight";
const FIRST = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.weight";
const HELD = ["fish", "a photo", "red car", "blue", "house at night", "tree", "old man", "cat", "sea"];

/** A text, the first of its rows, and how many. */
type Rows = [text: string, from: number, count: number];
interface Case {
  options: Partial<SpeedOptions>;
  pairs: [Rows, Rows][];
  held: Rows[];
}

// Rows counted by hand: the start token is row 0, and each word here is one token.
const church: [Rows, Rows] = [["old church", 2, 1], ["a photo", 2, 1]]; // prettier-ignore
const dog: [Rows, Rows] = [["dog", 1, 1], ["", 0, 1]]; // prettier-ignore
const held = HELD.map((text): Rows => [text, text.split(" ").length, 1]);
const cases: [string, "small" | "wide", string, Case][] = [
  [
    "last tokens with the whole prior",
    "small",
    MIDDLE,
    { options: { preserve: HELD }, pairs: [church, dog], held },
  ],
  [
    "a projection with fewer outputs than inputs",
    "wide",
    FIRST,
    { options: { preserve: HELD }, pairs: [church, dog], held },
  ],
  [
    "soft invariants, and no filter",
    "small",
    MIDDLE,
    {
      options: { preserve: HELD, lambda: 0.5, retainScale: 0.7, filter: false, threshold: 0.3 },
      ...{ pairs: [church, dog], held },
    },
  ],
  [
    "the null space of the empty text where nothing is held",
    "small",
    MIDDLE,
    { options: {}, pairs: [church, dog], held: [["", 1, L - 1]] },
  ],
  [
    "rows from the last token on, all rows of what is held",
    "small",
    MIDDLE,
    {
      options: { preserve: ["fish", "a photo"], alignment: "tail", augmentations: 2, threshold: 0.05 },
      pairs: [
        [["old church", 2, L - 2], ["a photo", 2, L - 2]],
        [["dog", 1, L - 1], ["", 0, L - 1]],
      ], // prettier-ignore
      held: [["fish", 0, L], ["a photo", 0, L]], // prettier-ignore
    },
  ],
];

describe("SPEED", () => {
  let small: GoldenModel;
  let wide: GoldenModel;
  beforeAll(async () => {
    [small, wide] = [await loadGolden("small", { latents: 8 }), await loadGolden("wide")];
  });
  afterAll(async () => {
    await small.dispose();
    await wide.dispose();
  });
  const run = (options: Partial<SpeedOptions>, golden = small) =>
    erase(golden.model, {
      ...{ concepts: ["old church", "dog"], guide: ["a photo", ""], neighbours: "off", seed: SEED },
      ...options,
      method: "speed",
    });
  async function rows(golden: GoldenModel, [text, from, count]: Rows): Promise<Matrix> {
    const states = await golden.model.encode(text);
    return (await matrix(states.squeeze(0).to("float64"))).slice(from, from + count);
  }
  const all = async (golden: GoldenModel, parts: readonly Rows[]): Promise<Matrix> =>
    (await Promise.all(parts.map((part) => rows(golden, part)))).flat();

  it.each(cases)("edits %s as published, within 1e-4 of the change", async (_, name, layer, setting) => {
    const golden = name === "small" ? small : wide;
    const erasure = await run(setting.options, golden);
    const weight = await matrix(golden.model.unet.parameter(layer).to("float64"));
    const empty = await rows(golden, ["", 0, L]);
    const o = {
      filter: true,
      augmentations: 10,
      threshold: 0.1,
      retainScale: 1,
      lambda: 0,
      ...setting.options,
    };
    const kept = await all(golden, setting.held);
    const noise = new Random(SEED).at("augmentation").at(layer);
    const reference = referenceSpeed({
      ...o,
      weight,
      keys: await all(golden, setting.pairs.map(([source]) => source)), // prettier-ignore
      targets: await all(golden, setting.pairs.map(([, guide]) => guide)), // prettier-ignore
      texts: 2,
      held: kept,
      invariants: [empty[0]!, ...kMeans(empty.slice(1), 3)],
      noise: await matrix(noise.normal([kept.length, o.augmentations], { dtype: "float64" })),
    });
    expect(reference.taken).toBeGreaterThan(reference.kept);
    const after = await matrix(erasure.model.unet.parameter(layer).to("float64"));
    const change = minus(after, weight);
    expect(Math.min(...reference.deltas.map((delta) => relativeDistance(change, delta)))).toBeLessThan(1e-4);
    // The start token's state goes nowhere, unless it may.
    const start =
      norm(product(change, transpose([empty[0]!]))) / norm(product(weight, transpose([empty[0]!])));
    if (o.lambda === 0) expect(start).toBeLessThan(1e-5);
    const report = erasure.history[erasure.model.unet.parameterNames().filter((key) => /attn2\.to_v/.test(key)).indexOf(layer)]!; // prettier-ignore
    const drift = norm(product(change, transpose(kept))) ** 2 / (kept.length * weight.length);
    expect(report.losses["preserve"]! / drift).toBeCloseTo(1, 3);
    expect(report.losses["free"]).toBeGreaterThan(0);
    erasure.dispose();
  });

  it("changes values alone, or keys as well where asked to", async () => {
    const before = await weightHashes(small.model.unet);
    for (const [options, pattern] of [
      [{}, /attn2\.to_v/],
      [{ parameters: "xattn-kv" }, /attn2\.to_[kv]/],
    ] as const) {
      const erasure = await run(options);
      const after = await weightHashes(erasure.model.unet);
      const changed = Object.keys(before).filter((name) => before[name] !== after[name]);
      expect(changed).toEqual(Object.keys(before).filter((name) => pattern.test(name)));
      expect(erasure.manifest.unetEvaluations).toBe(0);
      erasure.dispose();
    }
  });

  it.each([true, false])(
    "has one null space for all layers without filter and copies, invariants %s",
    async (invariants) => {
      const options = { filter: false, augmentations: 0, invariants, threshold: 1e-9, preserve: HELD };
      const erasure = await run(options);
      const free = erasure.history.map(({ losses }) => losses["free"]!);
      expect(free).toHaveLength(erasure.manifest.changedParameters);
      expect(new Set(free).size).toBe(1);
      const weight = await matrix(small.model.unet.parameter(MIDDLE).to("float64"));
      const change = minus(await matrix(erasure.model.unet.parameter(MIDDLE).to("float64")), weight);
      const share = (rowsOf: Matrix): number =>
        norm(product(change, transpose(rowsOf))) / norm(product(weight, transpose(rowsOf)));
      expect(share(await rows(small, church[0]))).toBeGreaterThan(10 * share(await all(small, held)));
      erasure.dispose();
    },
  );

  it("draws nothing without augmentation", async () => {
    const [one, other] = [await run({ augmentations: 0, seed: 1 }), await run({ augmentations: 0, seed: 2 })];
    expect(await weightHashes(one.model.unet)).toEqual(await weightHashes(other.model.unet));
    one.dispose();
    other.dispose();
  });

  it.each([0, 10])("changes nothing where guides are the concepts, with %d copies", async (augmentations) => {
    const erasure = await run({ guide: ["old church", "dog"], preserve: HELD, augmentations });
    expect(await weightHashes(erasure.model.unet)).toEqual(await weightHashes(small.model.unet));
    for (const { losses } of erasure.history) expect(losses["free"]).toBeGreaterThan(0);
    erasure.dispose();
  });

  it.each<[string, Partial<SpeedOptions>, RegExp]>([
    [
      "a prompt that names a concept",
      { preserve: ["a big Dog!"] },
      /preserve to name none of .*"a big Dog!" names "dog"/,
    ],
    [
      "held texts that span everything",
      { preserve: HELD, alignment: "tail", threshold: 1e-9 },
      /span all 32 directions/,
    ],
    [
      "a concept that is held by another name",
      { concepts: "dog", guide: "", preserve: ["  DOG  s"], alignment: "all" },
      /names "dog"/,
    ],
    ["a negative threshold", { threshold: -1 }, /threshold/],
    ["no ridge", { retainScale: 0 }, /retainScale/],
    ["half a copy", { augmentations: 0.5 }, /augmentations/],
    ["other weights", { parameters: "xattn" }, /parameters .* keys and values/],
  ])("refuses %s", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
