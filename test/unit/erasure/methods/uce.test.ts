import { erase } from "../../../../lib/erasure/erase";
import type { UceOptions } from "../../../../lib/erasure/methods/uce";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";
import {
  combine,
  divideRight,
  identity,
  matrix,
  meanSquare,
  minus,
  plus,
  product,
  relativeDistance,
  times,
  transpose,
  type Matrix,
} from "../../../support/matrix";

const L = 77;
const D = 32;
const LAYER = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight";

/** A text, the first of its rows, and how many. */
type Rows = [text: string, from: number, count: number];

interface Case {
  options: Omit<UceOptions, "method">;
  /** Rows of each text, and the rows of its guide's. */
  pairs: [Rows, Rows][];
  held?: Rows[];
  eraseScale?: number;
  preserveScale?: number;
  lambda?: number;
  tensor?: boolean;
}

const last = (text: string, row: number): Rows => [text, row, 1];
const all = (text: string): Rows => [text, 0, L];

// Rows counted by hand: the start token is row 0, and each word here is one token.
const cases: [string, Case][] = [
  [
    "moves the last token to the start token",
    { options: { concepts: "church", alignment: "last-token" }, pairs: [[last("church", 1), last("", 0)]] },
  ],
  [
    "takes a guide for each concept",
    {
      options: { concepts: ["old church", "dog"], guide: ["a photo", "red fish"], alignment: "last-token" },
      pairs: [
        [last("old church", 2), last("a photo", 2)],
        [last("dog", 1), last("red fish", 2)],
      ],
    },
  ],
  [
    "puts concept and guide into each template, wherever its place is",
    {
      options: {
        concepts: "church",
        alignment: "last-token",
        guide: "red house",
        templates: ["{}", "image of {} at night"],
      },
      pairs: [
        [last("church", 1), last("red house", 2)],
        [last("image of church at night", 3), last("image of red house at night", 4)],
      ],
    },
  ],
  [
    "holds the last tokens of the prompts to preserve, and weighs all three terms",
    {
      options: {
        concepts: "church",
        alignment: "last-token",
        preserve: ["dog", "a photo"],
        eraseScale: 2,
        preserveScale: 0.3,
        lambda: 0.05,
      },
      pairs: [[last("church", 1), last("", 0)]],
      held: [last("dog", 1), last("a photo", 2)],
      eraseScale: 2,
      preserveScale: 0.3,
      lambda: 0.05,
    },
  ],
  [
    "holds last tokens at weight 1 by default",
    {
      options: { concepts: "church", alignment: "last-token", preserve: ["dog", "fish"] },
      pairs: [[last("church", 1), last("", 0)]],
      held: [last("dog", 1), last("fish", 1)],
      preserveScale: 1,
    },
  ],
  [
    "aligns the tails behind the last tokens, and holds all rows, shared among the prompts",
    {
      options: {
        concepts: ["old church", "dog"],
        guide: "a photo at night",
        alignment: "tail",
        preserve: ["fish", "a car"],
      },
      pairs: [
        [
          ["old church", 2, L - 4],
          ["a photo at night", 4, L - 4],
        ],
        [
          ["dog", 1, L - 4],
          ["a photo at night", 4, L - 4],
        ],
      ],
      held: [all("fish"), all("a car")],
      preserveScale: 0.5,
    },
  ],
  [
    "aligns the tails by default, also with a shorter guide's",
    {
      options: { concepts: "old church" },
      pairs: [
        [
          ["old church", 2, L - 2],
          ["", 0, L - 2],
        ],
      ],
    },
  ],
  [
    "shares no less than a tenth among many preserved prompts",
    {
      options: { concepts: "church", alignment: "all", preserve: [..."abcdefghijklmnop"] },
      pairs: [[all("church"), all("")]],
      held: [..."abcdefghijklmnop"].map(all),
      preserveScale: 0.1,
    },
  ],
  [
    "takes the component along each text's own output from the target",
    {
      options: { concepts: ["old church", "dog"], guide: "a photo", alignment: "tail", technique: "tensor" },
      pairs: [
        [
          ["old church", 2, L - 2],
          ["a photo", 2, L - 2],
        ],
        [
          ["dog", 1, L - 2],
          ["a photo", 2, L - 2],
        ],
      ],
      tensor: true,
    },
  ],
];

describe("UCE", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const run = (options: Omit<UceOptions, "method">) =>
    erase(golden.model, { neighbours: "off", ...options, method: "uce" });
  async function rows([text, from, count]: Rows): Promise<Matrix> {
    const states = await golden.model.encode(text);
    return (await matrix(states.squeeze(0))).slice(from, from + count);
  }

  /** The minimiser for one projection, from the equations, by elimination. */
  async function solved(setting: Case): Promise<{ weight: Matrix; erase: number; preserve: number }> {
    const { eraseScale = 1, preserveScale = 0, lambda = 0.5 } = setting;
    const w = await matrix(golden.model.unet.parameter(LAYER));
    let system = times(identity(D), lambda);
    let wanted = times(w, lambda);
    const targets: [Matrix, Matrix][] = [];
    for (const [source, guide] of setting.pairs) {
      const k = await rows(source);
      const own = product(k, transpose(w));
      const given = product(await rows(guide), transpose(w));
      const along = combine(own, given, (x, y) => x * y)
        .flat()
        .reduce((sum, x) => sum + x, 0);
      const share = along / (meanSquare(own) * own.flat().length);
      const v = setting.tensor === true ? minus(given, times(own, share)) : given;
      system = plus(system, times(product(transpose(k), k), eraseScale));
      wanted = plus(wanted, times(product(transpose(v), k), eraseScale));
      targets.push([k, v]);
    }
    const held = (await Promise.all((setting.held ?? []).map(rows))).flat();
    if (held.length > 0) {
      const spread = times(product(transpose(held), held), preserveScale);
      system = plus(system, spread);
      wanted = plus(wanted, product(w, spread));
    }
    const weight = divideRight(wanted, system);
    const k = targets.flatMap(([keys]) => keys);
    const v = targets.flatMap(([, values]) => values);
    return {
      weight,
      erase: meanSquare(minus(product(k, transpose(weight)), v)),
      preserve: held.length === 0 ? 0 : meanSquare(product(held, transpose(minus(weight, w)))),
    };
  }

  it.each(cases)("%s", async (_title, setting) => {
    const erasure = await run(setting.options);
    const expected = await solved(setting);
    const actual = await matrix(erasure.model.unet.parameter(LAYER));
    // float32 weights: 6e-8. The states, of texts encoded together and no further than is needed, have other last bits.
    expect(relativeDistance(actual, expected.weight)).toBeLessThan(1e-6);
    const report = erasure.history[erasure.model.unet.parameterNames().filter(edited).indexOf(LAYER)]!;
    expect(report.losses["erase"]! / expected.erase).toBeCloseTo(1, 5);
    if (setting.held === undefined) expect(report.losses).not.toHaveProperty("preserve");
    else expect(report.losses["preserve"]! / expected.preserve).toBeCloseTo(1, 5);
    erasure.dispose();
  });

  const edited = (name: string): boolean => /attn2\.to_[kv]\./.test(name);

  it("reports each projection once and evaluates no network but the text encoder", async () => {
    const erasure = await run({ concepts: "church" });
    const count = golden.model.unet.parameterNames().filter(edited).length;
    expect(erasure.history.map(({ iteration }) => iteration)).toEqual(
      Array.from({ length: count }, (_, i) => i + 1),
    );
    expect(erasure.history.every(({ iterations }) => iterations === count)).toBe(true);
    expect(erasure.manifest).toMatchObject({ unetEvaluations: 0, changedParameters: count });
    expect(erasure.key).toBeUndefined();
    erasure.dispose();
  });

  it("edits the keys alone, or some layers, where asked to", async () => {
    const before = await weightHashes(golden.model.unet);
    for (const parameters of [/attn2\.to_k/, (name: string) => name === LAYER]) {
      const erasure = await run({ concepts: "church", parameters });
      const after = await weightHashes(erasure.model.unet);
      const changed = Object.keys(before).filter((name) => before[name] !== after[name]);
      const asked = Object.keys(before).filter((name) =>
        typeof parameters === "function" ? parameters(name) : parameters.test(name),
      );
      expect(changed).toEqual(asked);
      erasure.dispose();
    }
  });

  it("changes nothing where the guide is the concept", async () => {
    const erasure = await run({ concepts: "church", guide: "church", alignment: "tail" });
    expect(await weightHashes(erasure.model.unet)).toEqual(await weightHashes(golden.model.unet));
    erasure.dispose();
  });

  it("writes the options after defaults into the manifest", async () => {
    const erasure = await run({ concepts: "church", alignment: "tail", preserve: ["dog"] });
    expect(erasure.manifest.options).toEqual({
      method: "uce",
      neighbours: { choose: "off", count: 100, words: [] },
      guide: [""],
      alignment: "tail",
      eraseScale: 1,
      preserveScale: "auto",
      lambda: 0.5,
      technique: "replace",
      templates: ["{}"],
      parameters: "xattn-kv",
    });
    erasure.dispose();
  });

  it("rejects options that it cannot take, by name", async () => {
    const rejections: [object, RegExp][] = [
      [{ guide: 5 }, /guide/],
      [{ guide: [] }, /guide/],
      [{ guide: ["dog", "fish"] }, /guide .* one for each concept, but received 2/],
      [{ alignment: "first" }, /alignment/],
      [{ eraseScale: 0 }, /eraseScale/],
      [{ preserveScale: -1 }, /preserveScale/],
      [{ preserveScale: "some" }, /preserveScale/],
      [{ lambda: 0 }, /lambda/],
      [{ lambda: Infinity }, /lambda/],
      [{ technique: "swap" }, /technique/],
      [{ templates: [] }, /templates/],
      [{ templates: ["a photo"] }, /template/],
      [{ templates: ["{}es"] }, /churches/],
      [{ parameters: "xattn" }, /parameters .* keys and values/],
      [{ parameters: /attn1\.to_k/ }, /parameters .* keys and values/],
      [{ iterations: 5 }, /"iterations"/],
    ];
    for (const [more, message] of rejections) {
      await expect(erase(golden.model, { method: "uce", concepts: "church", ...more })).rejects.toMatchObject(
        {
          code: "INVALID_ARGUMENT",
          message: expect.stringMatching(message) as string,
        },
      );
    }
  });
});
