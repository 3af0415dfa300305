import { erase } from "../../../../lib/erasure/erase";
import type { OceOptions } from "../../../../lib/erasure/methods/oce";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";
import {
  divideRight,
  identity,
  matrix,
  meanSquare,
  minus,
  norm,
  orthonormal,
  plus,
  product,
  relativeDistance,
  symmetricEigen,
  times,
  transpose,
  type Matrix,
} from "../../../support/matrix";

const LAYER = (name: string): string => `${name}.transformer_blocks.0.attn2.to_v.weight`;
/** As many outputs as inputs: the rotation can be told from the weights. */
const SQUARE = LAYER("down_blocks.0.attentions.0");
const TALL = LAYER("mid_block.attentions.0");
const CAPTIONS = ["a photo of a dog", "red house", "the sea at night"];
const SCALES = { eraseScale: 30, globalScale: 2, preserveScale: 0.5, lambda: 3 };

describe("OCE", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());
  const run = (options: Partial<OceOptions> = {}) =>
    erase(golden.model, {
      ...{ concepts: ["old church", "dog"], guide: ["a photo", ""], templates: ["{}", "image of {}"] },
      ...{ preserve: ["fish", "red car"], captions: CAPTIONS, neighbours: "off", ...SCALES, ...options },
      method: "oce",
    });
  const before = (name: string): Promise<Matrix> => matrix(golden.model.unet.parameter(name).to("float64"));
  async function row(text: string, at: number): Promise<readonly number[]> {
    return (await matrix((await golden.model.encode(text)).squeeze(0).to("float64")))[at]!;
  }

  /** M of a projection, its projections made by Gram and Schmidt, as the published script has QR. */
  async function problem(w: Matrix): Promise<Matrix> {
    // Rows counted by hand: the start token is row 0, and each word here is one token.
    const own = await Promise.all([row("old church", 2), row("image of old church", 4), row("dog", 1), row("image of dog", 3)]); // prettier-ignore
    const guides = await Promise.all([row("a photo", 2), row("image of a photo", 4), row("", 0), row("image of", 2)]); // prettier-ignore
    const held = await Promise.all([row("fish", 1), row("red car", 2)]);
    const states = await Promise.all(
      CAPTIONS.flatMap((text) =>
        Array.from({ length: text.split(" ").length + 2 }, (_, at) => row(text, at)),
      ),
    );
    const projection = (rows: Matrix): Matrix => {
      const basis = orthonormal(product(rows, transpose(w)));
      return product(transpose(basis), basis);
    };
    const [g, other] = [projection(own), projection(guides)];
    const outputs = (rows: Matrix): Matrix =>
      product(w, product(product(transpose(rows), rows), transpose(w)));
    const erasing = times(product(minus(identity(w.length), other), g), -SCALES.eraseScale);
    const general = times(outputs(states), SCALES.globalScale / states.length);
    const kept = plus(
      times(outputs(held), SCALES.preserveScale),
      times(product(w, transpose(w)), SCALES.lambda),
    );
    return plus(plus(erasing, general), kept);
  }

  const trace = (a: Matrix, b: Matrix): number =>
    a.reduce((sum, line, i) => sum + line.reduce((part, x, j) => part + x * b[i]![j]!, 0), 0);

  it("turns values by the rotation that solves its Procrustes problem, which a certificate proves", async () => {
    const erasure = await run();
    const w = await before(SQUARE);
    const after = await matrix(erasure.model.unet.parameter(SQUARE).to("float64"));
    const m = await problem(w);
    const r = divideRight(after, w);
    const size = w.length;
    // float32 weights, over the condition of W.
    expect(norm(minus(product(transpose(r), r), identity(size)))).toBeLessThan(2e-5);
    const certificate = product(transpose(r), m); // RᵀM
    expect(norm(minus(certificate, transpose(certificate))) / norm(m)).toBeLessThan(2e-5);
    const half = times(plus(certificate, transpose(certificate)), 0.5);
    const spectrum = symmetricEigen(half).values.sort((x, y) => x - y);
    const singular = symmetricEigen(product(transpose(m), m)).values.map((value) => Math.sqrt(Math.max(0, value))).sort((x, y) => x - y); // prettier-ignore
    // Positive semidefinite, but for the least direction where a reflection would be nearer.
    const [least, ...others] = spectrum;
    expect(Math.abs(Math.abs(least!) - singular[0]!)).toBeLessThan(1e-4 * norm(m));
    others.forEach((value, i) => {
      expect(value).toBeGreaterThan(-2e-5 * norm(m));
      expect(Math.abs(value - singular[i + 1]!)).toBeLessThan(1e-4 * norm(m));
    });
    // No other rotation does better: neither far ones nor small turns of it.
    const best = trace(r, m);
    let seed = 1;
    const uniform = (): number => (seed = (seed * 16807) % 2147483647) / 2147483647 - 0.5;
    for (let i = 0; i < 100; i++) {
      const noise = identity(size).map((unit) => unit.map((x) => (i < 50 ? 0 : x) + uniform() * (i < 50 ? 1 : 0.02))); // prettier-ignore
      expect(trace(product(orthonormal(noise), i < 50 ? identity(size) : r), m)).toBeLessThan(best * (1 + 1e-6)); // prettier-ignore
    }
    erasure.dispose();
  });

  it.each([SQUARE, TALL])("keeps the lengths of outputs and the angles between them: %s", async (layer) => {
    const erasure = await run();
    const [w, after] = [await before(layer), await matrix(erasure.model.unet.parameter(layer).to("float64"))];
    const products = (of: Matrix): Matrix => product(transpose(of), of);
    expect(relativeDistance(products(after), products(w))).toBeLessThan(1e-6);
    expect(relativeDistance(after, w)).toBeGreaterThan(0.05);
    // Lengths of rows, which belong to single outputs, are not kept.
    const lengths = (of: Matrix): Matrix => of.map((line) => [norm([line])]);
    expect(relativeDistance(lengths(after), lengths(w))).toBeGreaterThan(1e-3);
    const keys = await Promise.all([row("old church", 2), row("image of old church", 4), row("dog", 1), row("image of dog", 3)]); // prettier-ignore
    const cosines = keys.map((key) => {
      const [was, is] = [w, after].map((of) => product([key], transpose(of)));
      return trace(was!, is!) / (norm(was!) * norm(is!));
    });
    const held = await Promise.all([row("fish", 1), row("red car", 2)]);
    const names = erasure.model.unet.parameterNames().filter((name) => name.includes("attn2.to_v"));
    const { cosine, preserve } = erasure.history[names.indexOf(layer)]!.losses;
    expect(cosine).toBeCloseTo(cosines.reduce((sum, x) => sum + x, 0) / cosines.length, 5);
    expect(preserve! / meanSquare(product(held, transpose(minus(after, w))))).toBeCloseTo(1, 4);
    erasure.dispose();
  });

  it("turns nothing where nothing is to be turned away", async () => {
    const erasure = await run({ eraseScale: 0 });
    for (const layer of [SQUARE, TALL]) {
      const after = await matrix(erasure.model.unet.parameter(layer).to("float64"));
      expect(relativeDistance(after, await before(layer))).toBeLessThan(1e-6);
    }
    erasure.dispose();
  });

  it("takes words of the tokenizer for texts in general, and changes values alone", async () => {
    const first = await weightHashes(golden.model.unet);
    const [own, given] = [await run({ captions: [] }), await run()];
    const after = await weightHashes(own.model.unet);
    const changed = Object.keys(first).filter((name) => first[name] !== after[name]);
    expect(changed).toEqual(Object.keys(first).filter((name) => name.includes("attn2.to_v")));
    expect(after).not.toEqual(await weightHashes(given.model.unet));
    own.dispose();
    given.dispose();
  });

  it.each<[string, Partial<OceOptions>, RegExp]>([
    [
      "rows that span all outputs",
      { alignment: "tail" },
      /the concepts' token rows .* down_blocks\.0.* but the 298 rows span all 32 directions: give fewer/,
    ],
    ["no weight on the old weights", { lambda: 0 }, /lambda/],
    ["a negative weight", { globalScale: -1 }, /globalScale/],
    ["an empty caption", { captions: [""] }, /captions/],
    ["other weights", { parameters: /attn1/ }, /parameters .* keys and values/],
  ])("refuses %s", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
