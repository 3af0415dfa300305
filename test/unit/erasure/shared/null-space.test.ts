import { applyRidgeEdit } from "../../../../lib/erasure/shared/closed-form";
import { nullSpaceEdits, type NullSpaceProblem } from "../../../../lib/erasure/shared/null-space";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import {
  divideRight,
  identity,
  matrix,
  minus,
  norm,
  orthonormal,
  plus,
  product,
  relativeDistance,
  times,
  transpose,
  type Matrix,
} from "../../../support/matrix";
import { published, referenceSpeed } from "../../../support/reference-speed";

const D = 20;
const OUT = 14;
const TEXTS = 3;
const draw = (label: string, ...shape: number[]): Tensor =>
  new Random(4).at(label).normal(shape, { dtype: "float64" });
const gram = (a: Matrix, b: Matrix): Matrix => product(transpose(a), b);
const inverse = (a: Matrix): Matrix => divideRight(identity(a.length), a);

const weight = draw("weight", OUT, D);
/** Eight directions are held, by three times as many rows. */
const held = draw("mixed", 24, 8).matmul(draw("spanned", 8, D));
const bare = {
  moved: { rows: draw("keys", TEXTS, D), targets: draw("targets", TEXTS, D), texts: ["a", "b", "c"] },
  held,
  invariants: draw("invariants", 4, D),
  ...{ filter: false, augmentations: 0, threshold: 1e-6, retainScale: 1, lambda: 0 },
} satisfies NullSpaceProblem;

async function change(problem: NullSpaceProblem, of = weight): Promise<Matrix> {
  const edits = await nullSpaceEdits(problem, new Random(1));
  const { edit } = await edits("layer", of);
  return minus(await matrix(applyRidgeEdit(edit, of).weight), await matrix(of));
}

/** The published formula, with the projector made from the rows that span what is held. */
async function expected(problem: NullSpaceProblem): Promise<{ p: Matrix; delta: Matrix }> {
  const [w, k, g, h] = await Promise.all(
    [weight, problem.moved.rows, problem.moved.targets, problem.held].map(matrix),
  );
  const texts = new Set(problem.moved.texts).size;
  const a = times(gram(k!, k!), 1 / texts);
  const away = product(w!, minus(times(gram(g!, k!), 1 / texts), a)); // W (B - A)
  const spanned = orthonormal(h!.slice(0, 8));
  const p = minus(identity(D), gram(spanned, spanned));
  const invariants = problem.invariants === null ? [] : await matrix(problem.invariants);
  return { p, delta: published({ ...problem, invariants }, a, away, p) };
}

describe("an edit in a null space", () => {
  it.each([
    ["hard invariants", {}],
    ["hard invariants, a small ρ", { retainScale: 0.05 }],
    ["soft invariants", { lambda: 0.5, retainScale: 0.7 }],
    ["no invariants", { invariants: null }],
  ])("is the published formula's: %s", async (_, more) => {
    const problem = { ...bare, ...more };
    const { delta, p } = await expected(problem);
    const found = await change(problem);
    expect(relativeDistance(found, delta)).toBeLessThan(1e-11);
    // Δ = ΔP, and nothing of what is held moves.
    expect(relativeDistance(product(found, p), found)).toBeLessThan(1e-12);
    expect(norm(product(found, transpose(await matrix(held)))) / norm(found)).toBeLessThan(1e-12);
  });

  it("leaves invariants alone, exactly where λ is 0, and softly where not", async () => {
    const fixed = transpose(await matrix(bare.invariants));
    const moved = async (lambda: number): Promise<number> => {
      const found = await change({ ...bare, lambda });
      return norm(product(found, fixed)) / norm(found);
    };
    expect(await moved(0)).toBeLessThan(1e-12);
    expect(await moved(0.5)).toBeGreaterThan(1e-2);
  });

  it("takes invariants that are held already, which the published formula cannot", async () => {
    const invariants = held.slice(0, 0, 4);
    const without = await change({ ...bare, invariants: null });
    expect(relativeDistance(await change({ ...bare, invariants }), without)).toBeLessThan(1e-9);
  });

  it.each([1, 0.05])(
    "is the least squares solution on a basis of what is free, ρ %f",
    async (retainScale) => {
      const { moved, invariants } = bare;
      const [w, k, g, h, c2] = await Promise.all(
        [weight, moved.rows, moved.targets, held, invariants].map(matrix),
      );
      // Δ = Y Rᵀ, R spanning what neither a held row nor an invariant has: minimise Σ‖Y Rᵀk - W(g - k)‖² / T + ρ‖Y‖².
      const free = orthonormal([...h!.slice(0, 8), ...c2!, ...identity(D)].slice(0, D)).slice(12); // Rᵀ
      const inputs = product(k!, transpose(free)); // rows Rᵀk
      const system = plus(times(gram(inputs, inputs), 1 / TEXTS), times(identity(free.length), retainScale));
      const wanted = product(minus(g!, k!), transpose(w!)); // rows W (g - k)
      const y = divideRight(times(gram(wanted, inputs), 1 / TEXTS), system);
      expect(relativeDistance(await change({ ...bare, retainScale }), product(y, free))).toBeLessThan(1e-11);
    },
  );

  it("is the double projection in the limit, without the three parts of the prior", async () => {
    const { moved } = bare;
    const [w, k, g, h] = await Promise.all([weight, moved.rows, moved.targets, held].map(matrix));
    const free = orthonormal([...h!.slice(0, 8), ...identity(D)].slice(0, D)).slice(8); // U₂ᵀ
    const x = product(free, transpose(k!)); // U₂ᵀ C₁ (r, n)
    const pseudo = product(inverse(gram(x, x)), transpose(x)); // (n, r)
    const double = product(product(product(w!, transpose(minus(g!, k!))), pseudo), free);
    const found = await change({ ...bare, invariants: null, retainScale: 1e-8 });
    expect(relativeDistance(found, double)).toBeLessThan(1e-7);
    // Of one target it has rank 1: W (c* - c) xᵀ U₂ᵀ / |x|².
    const one = { rows: moved.rows.slice(0, 0, 1), targets: moved.targets.slice(0, 0, 1), texts: ["a"] };
    const single = await change({ ...bare, moved: one, invariants: null, retainScale: 1e-8 });
    const only = x.map((row) => [row[0]!]);
    const away = product(w!, transpose(minus([g![0]!], [k![0]!])));
    const rankOne = times(product(away, product(transpose(only), free)), 1 / norm(only) ** 2);
    expect(relativeDistance(single, rankOne)).toBeLessThan(1e-7);
    const reached = product(plus(w!, single), transpose([k![0]!]));
    expect(relativeDistance(reached, product(w!, transpose([g![0]!])))).toBeLessThan(1e-7);
  });

  const many = {
    ...{ rows: draw("many", D + 5, D), targets: draw("their targets", D + 5, D) },
    texts: Array.from({ length: D + 5 }, (_, row) => String(row % 5)),
  };
  it("folds more moved rows than there are directions, to the same edit", async () => {
    const problem = { ...bare, moved: many };
    expect(relativeDistance(await change(problem), (await expected(problem)).delta)).toBeLessThan(1e-11);
  });

  it.each([
    ["the filter takes", { filter: true, augmentations: 0 }, OUT],
    ["the augmentation takes", { filter: false, augmentations: 5 }, OUT],
    ["both take", { filter: true, augmentations: 5 }, OUT],
    ["both take for a tall projection", { filter: true, augmentations: 5 }, D + 3],
    ["both take for more moved rows than directions", { filter: true, augmentations: 5, moved: many }, OUT],
  ])("finds the null space of what %s", async (_, more, out) => {
    const problem = { ...bare, held: draw("all", 30, D), threshold: 0.5, ...more };
    const of = draw("projection", out, D);
    const shape = [30, problem.augmentations];
    const noise = await matrix(new Random(1).at("layer").normal(shape, { dtype: "float64" }));
    const { deltas, kept, taken } = referenceSpeed({
      ...problem,
      weight: await matrix(of),
      keys: await matrix(problem.moved.rows),
      targets: await matrix(problem.moved.targets),
      texts: new Set(problem.moved.texts).size,
      held: await matrix(problem.held),
      invariants: await matrix(problem.invariants),
      noise,
    });
    expect([kept < 30, taken > kept]).toEqual([problem.filter, problem.augmentations > 0]);
    const found = await change(problem, of);
    expect(Math.min(...deltas.map((delta) => relativeDistance(found, delta)))).toBeLessThan(1e-9);
  });

  it("keeps rows that are all harmed alike, one alone among them", async () => {
    const one = { ...bare, held: held.slice(0, 0, 1), filter: true, invariants: null };
    expect(relativeDistance(await change(one), await change({ ...one, filter: false }))).toBeLessThan(1e-12);
  });

  it("draws by the layer and the seed", async () => {
    const problem = { ...bare, held: draw("all", 30, D), augmentations: 5, threshold: 0.5 };
    const edits = await nullSpaceEdits(problem, new Random(1));
    const of = async (seed: number, name: string): Promise<Matrix> =>
      matrix(applyRidgeEdit((await (await nullSpaceEdits(problem, new Random(seed)))(name, weight)).edit, weight).weight); // prettier-ignore
    const first = await matrix(applyRidgeEdit((await edits("layer", weight)).edit, weight).weight);
    expect(await of(1, "layer")).toEqual(first);
    expect(await of(1, "other")).not.toEqual(first);
    expect(await of(2, "layer")).not.toEqual(first);
  });

  it("says how much of what is moved is free", async () => {
    const { edit, free } = await (await nullSpaceEdits(bare, new Random(1)))("layer", weight);
    const { p } = await expected(bare);
    const k = await matrix(bare.moved.rows);
    expect(await free.item()).toBeCloseTo(norm(product(k, p)) / norm(k), 12);
    expect(edit.held!.count).toBe(24);
  });

  it("refuses what spans everything, with the numbers: the threshold is absolute", async () => {
    const problem = { ...bare, held: draw("all", 30, D), threshold: 0.5, augmentations: 2 };
    await change(problem);
    const larger = { ...problem, held: problem.held.mul(10) };
    await expect(change(larger)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/in layer the 30 rows held span all 20 directions: the least eigenvalue .* is \d+\.\d+, and threshold 0\.5; hold fewer/) as string, // prettier-ignore
    });
  });

  it("refuses a text that lies within what is held, by name and share", async () => {
    const rows = Tensor.cat([bare.moved.rows.slice(0, 0, 2), held.slice(0, 0, 1)]);
    const run = change({ ...bare, moved: { ...bare.moved, rows } });
    await expect(run).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/0\.0001 of "c" to lie outside of what is held but in every layer only \d\.\de-1\d of it/) as string, // prettier-ignore
    });
  });
});
