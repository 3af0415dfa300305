import type { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import { derivedRows, type ReceOptions } from "../../../../lib/erasure/methods/rece";
import { applyRidgeEdit, ridgeEdit } from "../../../../lib/erasure/shared/closed-form";
import { Random } from "../../../../lib/runtime/random";
import type { Tensor } from "../../../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";
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

const L = 77;
const draw = (label: string, ...shape: number[]): Tensor =>
  new Random(8).at(label).normal(shape, { dtype: "float64" });
const gram = (a: Matrix, b: Matrix): Matrix => product(transpose(a), b);

describe("embeddings that RECE derives", () => {
  const D = 12;
  const original = draw("original", 40, D);
  const present = original.add(draw("change", 40, D).mul(0.3));
  const [concepts, guides] = [draw("concepts", 5, D), draw("guides", 5, D)];
  const derived = async (
    regularizer: "zero" | "standard" | "surrogate",
    regularScale: number,
    from = present,
  ): Promise<Matrix> =>
    matrix(await derivedRows(from, original, concepts, guides, { regularizer, regularScale }));

  it("are the least squares solution of all projections and the regulariser stacked", async () => {
    const [w1, w0, c, anchors] = await Promise.all([present, original, concepts, guides].map(matrix));
    const outputs = product(w0!, transpose(c!)); // W c (40, 5)
    const solution = (more: Matrix, wanted: Matrix): Matrix => {
      const stacked = [...w1!, ...more];
      const right = [...outputs, ...wanted];
      return divideRight(gram(right, stacked), gram(stacked, stacked)); // rows c'
    };
    const [scale, root] = [0.7, Math.sqrt(0.7)];
    const zero = solution(times(identity(D), root), times(identity(D), 0).map((row) => row.slice(0, 5))); // prettier-ignore
    const standard = solution(times(identity(D), root), times(transpose(anchors!), root));
    const surrogate = solution(times(w1!, root), times(product(w1!, transpose(c!)), root));
    expect(relativeDistance(await derived("zero", scale), zero)).toBeLessThan(1e-12);
    expect(relativeDistance(await derived("standard", scale), standard)).toBeLessThan(1e-12);
    const found = await derived("surrogate", scale);
    expect(relativeDistance(found, surrogate)).toBeLessThan(1e-12);
    // A mean of the unregularised solution and the embedding itself.
    const free = solution([], []);
    expect(relativeDistance(found, times(plus(free, times(c!, scale)), 1 / (1 + scale)))).toBeLessThan(1e-12);
  });

  it("are the concept's own where the weights are the original ones, and shrink as the regulariser grows", async () => {
    const c = await matrix(concepts);
    expect(relativeDistance(await derived("zero", 1e-14, original), c)).toBeLessThan(1e-12);
    expect(relativeDistance(await derived("surrogate", 0.5, original), c)).toBeLessThan(1e-12);
    const lengths = await Promise.all([1e-3, 0.1, 1, 10, 1e3, 1e9].map(async (scale) => norm(await derived("zero", scale)))); // prettier-ignore
    lengths.slice(1).forEach((length, index) => expect(length).toBeLessThan(lengths[index]!));
    // Far above the eigenvalues of Σ W'ᵀW' nothing is derived.
    expect(lengths.at(-1)! / norm(c)).toBeLessThan(1e-6);
  });

  it("are sent where their guides' go as what stands against it vanishes, and stay where they go already", async () => {
    const rows = await derivedRows(present, original, concepts, guides, { regularizer: "zero", regularScale: 0.1 }); // prettier-ignore
    const free = await ridgeEdit({ moved: { rows, targets: guides, weights: 1 }, lambda: 1e-10 });
    expect(await applyRidgeEdit(free, present).movedError.item()).toBeLessThan(1e-16);
    const fixed = await ridgeEdit({ moved: { rows, targets: rows, weights: 1 }, lambda: 0.1 });
    expect(await matrix(applyRidgeEdit(fixed, present).weight)).toEqual(await matrix(present));
  });

  it("cannot be had from too few projections without a regulariser, which is said", async () => {
    const few = original.slice(0, 0, 3);
    const run = derivedRows(few, few, concepts, guides, { regularizer: "surrogate", regularScale: 0 });
    await expect(run).rejects.toMatchObject({
      code: "NUMERIC_FAILURE",
      message: expect.stringContaining('the regularizer "zero"') as string,
    });
  });
});

describe("RECE", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());
  const run = (options: Partial<ReceOptions> & { concepts: string | string[] }) =>
    erase(golden.model, { neighbours: "off", ...options, method: "rece" });
  const states = async (text: string): Promise<Matrix> =>
    matrix((await golden.model.encode(text)).squeeze(0).to("float64"));
  const edited = (): string[] =>
    golden.model.unet.parameterNames().filter((name) => /attn2\.to_[kv]\./.test(name));

  /** W' (λI + e Σ k kᵀ + r Σ h hᵀ) = W (λI + e Σ g kᵀ + r Σ h hᵀ) */
  function ridge(w: Matrix, k: Matrix, g: Matrix, h: Matrix, [e, r, lambda]: number[]): Matrix {
    const stay = plus(times(identity(w[0]!.length), lambda!), times(gram(h, h), r!));
    const right = product(w, plus(stay, times(gram(g, k), e!)));
    return divideRight(right, plus(stay, times(gram(k, k), e!)));
  }

  it("is UCE's edit, then rounds of edits of the present weights on derived embeddings, within 1e-5", async () => {
    const erasure = await run({
      ...{ concepts: ["old church", "dog"], guide: ["a photo", ""], preserve: ["a fish"] },
      ...{ start: { lambda: 0.3, preserveScale: 0.2 }, epochs: 2, regularScale: 0.05 },
      ...{ eraseScale: 1.5, preserveScale: 0.4, lambda: 0.2 },
    });
    const tail = (rows: Matrix, from: number, count: number): Matrix => rows.slice(from, from + count);
    const [church, dog, photo, empty, fish] = await Promise.all(
      ["old church", "dog", "a photo", "", "a fish"].map(states),
    );
    const held = [...empty!, ...fish!];
    const names = edited();
    const original = await Promise.all(
      names.map((name) => matrix(golden.model.unet.parameter(name).to("float64"))),
    );
    // "old church" ends at row 2 as "a photo" does, "dog" at row 1, and "" at row 0.
    const keys = [...tail(church!, 2, L - 2), ...tail(dog!, 1, L - 1)];
    const targets = [...tail(photo!, 2, L - 2), ...tail(empty!, 0, L - 1)];
    let weights = original.map((w) => ridge(w, keys, targets, held, [1, 0.2, 0.3]));
    const [concepts, guides] = [
      [...church!, ...dog!],
      [...photo!, ...empty!],
    ];
    for (let round = 0; round < 2; round++) {
      const width = weights[0]![0]!.length;
      const none = times(identity(width), 0);
      const own = weights.reduce<Matrix>((sum, w) => plus(sum, gram(w, w)), none);
      const given = weights.reduce<Matrix>((sum, w, i) => plus(sum, gram(w, original[i]!)), none);
      // c' = (λI + S)⁻¹ T c, as rows: C Tᵀ (λI + S)⁻¹
      const derived = divideRight(
        product(concepts, transpose(given)),
        plus(own, times(identity(width), 0.05)),
      );
      weights = weights.map((w) => ridge(w, derived, guides, held, [1.5, 0.4, 0.2]));
    }
    for (const [index, name] of names.entries()) {
      const after = await matrix(erasure.model.unet.parameter(name).to("float64"));
      const change = minus(weights[index]!, original[index]!);
      expect(relativeDistance(minus(after, original[index]!), change)).toBeLessThan(1e-5);
    }
    expect(erasure.history.map(({ iteration }) => iteration)).toEqual(
      Array.from({ length: 3 * names.length }, (_, i) => i + 1),
    );
    expect(erasure.history.every(({ iterations }) => iterations === 3 * names.length)).toBe(true);
    expect(erasure.manifest.unetEvaluations).toBe(0);
    erasure.dispose();
  });

  it("is UCE with the empty text held, without rounds", async () => {
    const none = await run({ concepts: "church", epochs: 0 });
    const uce = await erase(golden.model, { method: "uce", concepts: "church", preserve: [""], neighbours: "off" }); // prettier-ignore
    expect(await weightHashes(none.model.unet)).toEqual(await weightHashes(uce.model.unet));
    none.dispose();
    uce.dispose();
  });

  it.each([
    ["the highest", [1, 7, 3], 1],
    ["the first of equals", [2, 1, 2], 0],
    ["the last where it is best", [0, 1, 2], 2],
  ])("keeps the round with %s score", async (_, scores, chosen) => {
    const seen: [number, Record<string, string>][] = [];
    const views: StableDiffusion[] = [];
    const erasure = await run({
      ...{ concepts: "church", epochs: 2 },
      validate: async (model, round) => {
        views.push(model);
        seen.push([round, await weightHashes(model.unet)]);
        await model.encode("church");
        return scores[round]!;
      },
    });
    expect(seen.map(([round]) => round)).toEqual([0, 1, 2]);
    expect(new Set(seen.map(([, hashes]) => JSON.stringify(hashes))).size).toBe(3);
    expect(await weightHashes(erasure.model.unet)).toEqual(seen[chosen]![1]);
    const parts = 3 * (edited().length + 1);
    expect(erasure.history.map(({ losses }) => losses["score"]).filter((score) => score !== undefined)).toEqual(scores); // prettier-ignore
    expect([erasure.history.length, erasure.history.at(-1)!.iterations]).toEqual([parts, parts]);
    const rounds = await run({ concepts: "church", epochs: chosen });
    expect(await weightHashes(rounds.model.unet)).toEqual(seen[chosen]![1]);
    rounds.dispose();
    erasure.dispose();
    // What was shown was a view, and is gone.
    await expect(views[0]!.encode("church")).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("ends with what validation throws, and on a score that is no number", async () => {
    const validate = (): number => {
      throw new Error("mine");
    };
    await expect(run({ concepts: "church", validate })).rejects.toThrow("mine");
    await expect(run({ concepts: "church", validate: () => NaN })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("what validate gives") as string,
    });
  });

  it("rejects options that it cannot take, by name", async () => {
    const rejections: [object, RegExp][] = [
      [{ epochs: -1 }, /epochs/],
      [{ regularizer: "close_regzero" }, /regularizer/],
      [{ regularScale: 0 }, /regularScale/],
      [{ start: { alignment: "first" } }, /start\.alignment/],
      [{ start: { guide: "dog" } }, /"guide" in start/],
      [{ validate: 5 }, /validate .* a function/],
      [{ alignment: "tail" }, /"alignment"/],
      [{ parameters: "xattn" }, /parameters .* keys and values/],
    ];
    for (const [more, message] of rejections)
      await expect(run({ concepts: "church", ...more })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      });
  });
});
