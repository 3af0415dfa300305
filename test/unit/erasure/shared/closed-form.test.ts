import { applyRidgeEdit, ridgeEdit, type RidgeProblem } from "../../../../lib/erasure/shared/closed-form";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import {
  identity,
  matrix,
  meanSquare,
  minus,
  norm,
  plus,
  product,
  relativeDistance,
  times,
  transpose,
  type Matrix,
} from "../../../support/matrix";

const D = 24;
const OUT = 10;
const draw = (label: string, ...shape: number[]): Tensor =>
  new Random(3).at(label).normal(shape, { dtype: "float64" });

const weight = draw("weight", OUT, D);
const keys = draw("keys", 7, D);
const values = draw("values", 7, OUT);
const others = draw("others", 5, D);

async function edited(problem: RidgeProblem, given: Tensor | null = values) {
  const edit = await ridgeEdit(problem);
  const { weight: after, movedError, heldError } = applyRidgeEdit(edit, weight, given ?? undefined);
  return {
    weight: await matrix(after),
    movedError: await movedError.item(),
    heldError: heldError === null ? null : await heldError.item(),
  };
}

/** Rows times their weights. */
const scale = (rows: Matrix, weights: readonly number[]): Matrix =>
  rows.map((row, i) => row.map((x) => x * weights[i]!));

describe("the closed-form edit", () => {
  it.each([
    ["one weight for all rows", 1.5, 0.25],
    ["a weight for each row", [0.1, 2, 0, 1, 30, 0.5, 1], [1, 0.01, 4, 0.3, 2]],
  ])("solves the normal equations in float64: %s", async (_title, moved, held) => {
    const lambda = 0.5;
    const asInput = (w: number | number[]): number | Tensor =>
      typeof w === "number" ? w : Tensor.from(w, [w.length], { dtype: "float64" });
    const result = await edited({
      moved: { rows: keys, weights: asInput(moved) },
      held: { rows: others, weights: asInput(held) },
      lambda,
    });

    const [w, k, v, h] = await Promise.all([weight, keys, values, others].map(matrix));
    const perRow = (rows: Matrix, s: number | number[]): number[] =>
      typeof s === "number" ? rows.map(() => s) : s;
    const sk = scale(k!, perRow(k!, moved));
    const sh = scale(h!, perRow(h!, held));
    const system = plus(
      plus(times(identity(D), lambda), product(transpose(sk), k!)),
      product(transpose(sh), h!),
    );
    const outputsOfHeld = product(w!, transpose(h!)); // (out, m)
    const wanted = plus(plus(times(w!, lambda), product(transpose(v!), sk)), product(outputsOfHeld, sh));
    expect(relativeDistance(product(result.weight, system), wanted)).toBeLessThan(1e-12);
  });

  it.each([3, 7, 60])("takes values from other inputs' outputs: %i rows of width 24", async (count) => {
    const rows = draw("many", count, D);
    const targets = draw("targets", count, D);
    const problem = { held: { rows: others, weights: 0.2 }, lambda: 0.5 };
    const outputs = targets.matmul(weight.transpose(0, 1));
    const given = await edited({ ...problem, moved: { rows, weights: 0.7 } }, outputs);
    const linear = await edited({ ...problem, moved: { rows, weights: 0.7, targets } }, null);
    expect(relativeDistance(linear.weight, given.weight)).toBeLessThan(1e-12);
    expect(linear.movedError / given.movedError).toBeCloseTo(1, 10);
    expect(linear.heldError! / given.heldError!).toBeCloseTo(1, 10);
  });

  it("is the rank-one update of Sherman and Morrison for a single row", async () => {
    const [key, value] = [keys.slice(0, 0, 1), values.slice(0, 0, 1)];
    const result = await edited({ moved: { rows: key, weights: 2 }, lambda: 0.3 }, value);
    const [w, k, v] = await Promise.all([weight, key, value].map(matrix));
    const missing = minus(transpose(v!), product(w!, transpose(k!))); // (out, 1)
    const factor = 2 / (0.3 + 2 * norm(k!) ** 2);
    expect(relativeDistance(result.weight, plus(w!, times(product(missing, k!), factor)))).toBeLessThan(
      1e-13,
    );
  });

  it("says how far the outputs are from what was asked, and how far the held ones moved", async () => {
    const result = await edited({
      moved: { rows: keys, weights: 1 },
      held: { rows: others, weights: 0.2 },
      lambda: 0.5,
    });
    const [w, k, v, h] = await Promise.all([weight, keys, values, others].map(matrix));
    const asked = meanSquare(minus(product(k!, transpose(result.weight)), v!));
    const moved = meanSquare(product(h!, transpose(minus(result.weight, w!))));
    expect(result.movedError / asked).toBeCloseTo(1, 10);
    expect(result.heldError! / moved).toBeCloseTo(1, 10);
    expect((await edited({ moved: { rows: keys, weights: 1 }, lambda: 0.5 })).heldError).toBeNull();
  });

  it("comes closer to what was asked the smaller lambda is, and leaves the weights as it grows", async () => {
    const w = await matrix(weight);
    const errors: number[] = [];
    const distances: number[] = [];
    for (const lambda of [1e-4, 1e-2, 1, 1e2, 1e10]) {
      const result = await edited({ moved: { rows: keys, weights: 1 }, lambda });
      errors.push(result.movedError);
      distances.push(relativeDistance(result.weight, w));
    }
    expect(errors).toEqual([...errors].sort((a, b) => a - b));
    expect(distances).toEqual([...distances].sort((a, b) => b - a));
    // Seven inputs in 24 dimensions can all be met; a lambda of 1e10 against ‖k‖² near 24 moves nothing to speak of.
    expect(errors[0]).toBeLessThan(1e-8);
    expect(distances.at(-1)).toBeLessThan(1e-7);
  });

  it("keeps the held outputs the better the more they count", async () => {
    const drifts: number[] = [];
    for (const weights of [0, 0.1, 1, 10, 1e6])
      drifts.push(
        (await edited({ moved: { rows: keys, weights: 1 }, held: { rows: others, weights }, lambda: 0.5 }))
          .heldError!,
      );
    expect(drifts).toEqual([...drifts].sort((a, b) => b - a));
    expect(drifts.at(-1)! / drifts[0]!).toBeLessThan(1e-9);
  });

  it("leaves the tensors that it was given, and the edit serves after its inputs are gone", async () => {
    const rows = keys.clone();
    const edit = await ridgeEdit({ moved: { rows, weights: 1 }, lambda: 0.5 });
    rows.dispose();
    const before = await matrix(weight);
    const first = await matrix(applyRidgeEdit(edit, weight, values).weight);
    expect(await matrix(weight)).toEqual(before);
    expect(await matrix(applyRidgeEdit(edit, weight, values).weight)).toEqual(first);
  });

  it("says that lambda is too small where the equations have no one solution", async () => {
    const rows = Tensor.from([1, 0, 0, 0, 1, 0], [2, 3], { dtype: "float64" });
    await expect(ridgeEdit({ moved: { rows, weights: 1 }, lambda: 0 })).rejects.toMatchObject({
      name: "KpopError",
      code: "NUMERIC_FAILURE",
      message: expect.stringMatching(/lambda 0 .* raise lambda/) as string,
    });
  });

  it("refuses shapes that do not fit, and weights below zero, by name", async () => {
    const cases: [RidgeProblem, RegExp][] = [
      [{ moved: { rows: draw("flat", D), weights: 1 }, lambda: 1 }, /moved rows .* \(n, d\)/],
      [{ moved: { rows: Tensor.empty([0, D]), weights: 1 }, lambda: 1 }, /moved rows/],
      [
        { moved: { rows: keys, weights: 1 }, held: { rows: draw("wide", 2, D + 1), weights: 1 }, lambda: 1 },
        /held rows .* \(n, 24\)/,
      ],
      [{ moved: { rows: keys, weights: draw("few", 3) }, lambda: 1 }, /weights .* \(7\)/],
      [{ moved: { rows: keys, weights: 1, targets: others }, lambda: 1 }, /targets .* \(7, 24\)/],
      [{ moved: { rows: keys, weights: -1 }, lambda: 1 }, /weight .* >= 0/],
      [{ moved: { rows: keys, weights: 1 }, lambda: -0.5 }, /lambda/],
    ];
    for (const [problem, message] of cases)
      await expect(ridgeEdit(problem)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      });
    const edit = await ridgeEdit({ moved: { rows: keys, weights: 1 }, lambda: 1 });
    expect(() => applyRidgeEdit(edit, draw("narrow", OUT, D - 1), values)).toThrow(/weight .* \(out, 24\)/);
    expect(() => applyRidgeEdit(edit, weight, draw("short", 6, OUT))).toThrow(/values .* \(7, 10\)/);
    expect(() => applyRidgeEdit(edit, weight)).toThrow(/values .* \(7, 10\)/);
    const linear = await ridgeEdit({ moved: { rows: keys, weights: 1, targets: keys }, lambda: 1 });
    expect(() => applyRidgeEdit(linear, weight, values)).toThrow(/values .* left out/);
  });
});
