import { above, eigen, pseudoInverse } from "../../../../lib/erasure/shared/spectral";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { matrix, norm, product, relativeDistance, minus, transpose } from "../../../support/matrix";

const draw = (label: string, ...shape: number[]): Tensor =>
  new Random(2).at(label).normal(shape, { dtype: "float64" });

describe("spectra of symmetric matrices", () => {
  it("are eigenvectors with their eigenvalues, ascending", async () => {
    const a = draw("a", 9, 9);
    const given = a.matmul(a.transpose(0, 1));
    const { vectors, values } = eigen(given);
    const [m, v, found] = await Promise.all([given, vectors, values].map(matrix));
    const scaled = v!.map((row) => row.map((x, i) => x * found![0]![i]!));
    expect(norm(minus(product(m!, v!), scaled)) / norm(m!)).toBeLessThan(1e-13);
    expect(found![0]).toEqual([...found![0]!].sort((x, y) => x - y));
  });

  it("give the pseudo-inverse and the rank of what is singular", async () => {
    const half = draw("half", 8, 3);
    const given = half.matmul(half.transpose(0, 1));
    const { inverse, rank } = pseudoInverse(given, given.square().sum().sqrt());
    expect(await rank.item()).toBe(3);
    const [a, p] = await Promise.all([given, inverse].map(matrix));
    // The four conditions of Moore and Penrose; both are symmetric.
    expect(relativeDistance(product(product(a!, p!), a!), a!)).toBeLessThan(1e-12);
    expect(relativeDistance(product(product(p!, a!), p!), p!)).toBeLessThan(1e-12);
    expect(relativeDistance(transpose(product(a!, p!)), product(a!, p!))).toBeLessThan(1e-12);
    const none = pseudoInverse(Tensor.zeros([4, 4], { dtype: "float64" }), given.sum().square());
    expect([await none.rank.item(), norm(await matrix(none.inverse))]).toEqual([0, 0]);
  });

  it("tell what lies above a limit", async () => {
    const values = Tensor.from(Float64Array.of(1, 1 + 2 ** -52, 0, -5, 1e300), [5]);
    expect(Array.from(await above(values, Tensor.from(Float64Array.of(1), [])).data(), Number)).toEqual([0, 1, 0, 0, 1]); // prettier-ignore
  });
});
