import type { Tensor } from "../../lib/runtime/tensor";

/** Rows of float64 numbers: arithmetic that shares nothing with libtorch. */
export type Matrix = readonly (readonly number[])[];

/** The elements of an (n, m) tensor. */
export async function matrix(tensor: Tensor): Promise<Matrix> {
  const [rows, columns] = tensor.shape as [number, number];
  const data = Array.from(await tensor.data(), Number);
  return Array.from({ length: rows }, (_, row) => data.slice(row * columns, (row + 1) * columns));
}

export function product(a: Matrix, b: Matrix): Matrix {
  const columns = transpose(b);
  return a.map((row) => columns.map((column) => dot(row, column)));
}

export function transpose(a: Matrix): Matrix {
  return (a[0] ?? []).map((_, column) => a.map((row) => row[column]!));
}

/** Element by element. */
export function combine(a: Matrix, b: Matrix, operation: (x: number, y: number) => number): Matrix {
  return a.map((row, i) => row.map((x, j) => operation(x, b[i]![j]!)));
}

export const plus = (a: Matrix, b: Matrix): Matrix => combine(a, b, (x, y) => x + y);
export const minus = (a: Matrix, b: Matrix): Matrix => combine(a, b, (x, y) => x - y);
export const times = (a: Matrix, factor: number): Matrix => a.map((row) => row.map((x) => x * factor));

/** X with X A = B for a square A, by Gaussian elimination with row exchanges. */
export function divideRight(b: Matrix, a: Matrix): Matrix {
  const size = a.length;
  const rows = transpose(a).map((row, i) => [...row, ...b.map((wanted) => wanted[i]!)]);
  for (let column = 0; column < size; column++) {
    let pivot = column;
    for (let row = column; row < size; row++)
      if (Math.abs(rows[row]![column]!) > Math.abs(rows[pivot]![column]!)) pivot = row;
    [rows[column], rows[pivot]] = [rows[pivot]!, rows[column]!];
    const chosen = rows[column]!;
    rows.forEach((row, index) => {
      if (index === column) return;
      const factor = row[column]! / chosen[column]!;
      for (let i = column; i < row.length; i++) row[i]! -= factor * chosen[i]!;
    });
  }
  return b.map((_, j) => rows.map((row, i) => row[size + j]! / row[i]!));
}

export function identity(size: number): Matrix {
  return Array.from({ length: size }, (_, i) => Array.from({ length: size }, (__, j) => (i === j ? 1 : 0)));
}

/** Frobenius norm. */
export function norm(a: Matrix): number {
  return Math.sqrt(a.reduce((sum, row) => sum + dot(row, row), 0));
}

/** ‖a - b‖ / ‖b‖ in Frobenius norm. */
export function relativeDistance(a: Matrix, b: Matrix): number {
  return norm(minus(a, b)) / norm(b);
}

/** Mean of the squared elements. */
export function meanSquare(a: Matrix): number {
  return norm(a) ** 2 / (a.length * a[0]!.length);
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}

/** Eigenvectors as columns and eigenvalues of a symmetric matrix, in no order, by Jacobi's rotations. */
export function symmetricEigen(given: Matrix): { vectors: Matrix; values: number[] } {
  const size = given.length;
  const a = given.map((row) => [...row]);
  const v = identity(size).map((row) => [...row]);
  const scale = norm(given);
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < size; p++)
      for (let q = p + 1; q < size; q++) {
        if (Math.abs(a[p]![q]!) < 1e-18 * scale) continue;
        const theta = (a[q]![q]! - a[p]![p]!) / (2 * a[p]![q]!);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1);
        const turn = (row: number[]): void => {
          const [x, y] = [row[p]!, row[q]!];
          [row[p], row[q]] = [c * x - c * t * y, c * t * x + c * y];
        };
        a.forEach(turn);
        v.forEach(turn);
        const [x, y] = [a[p]!, a[q]!];
        a[p] = x.map((value, i) => c * value - c * t * y[i]!);
        a[q] = x.map((value, i) => c * t * value + c * y[i]!);
      }
  }
  return { vectors: v, values: a.map((row, i) => row[i]!) };
}

/** Orthonormal rows that span what the given rows do, one for each, by Gram and Schmidt's process, made twice. */
export function orthonormal(rows: Matrix): Matrix {
  return rows.reduce<number[][]>((basis, row) => {
    let rest = [...row];
    for (let pass = 0; pass < 2; pass++)
      for (const other of basis) {
        const along = dot(rest, other);
        rest = rest.map((x, i) => x - along * other[i]!);
      }
    const length = Math.sqrt(dot(rest, rest));
    return [...basis, rest.map((x) => x / length)];
  }, []);
}
