import { constants, PerformanceObserver, type PerformanceEntry } from "node:perf_hooks";
import { KpopError } from "../../../lib/errors";
import { noGrad } from "../../../lib/runtime/grad-mode";
import { Random } from "../../../lib/runtime/random";
import { Tensor, type TensorOptions } from "../../../lib/runtime/tensor";
import { resultOf, runProgram } from "../../support/program";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const isMajor = (entry: PerformanceEntry): boolean =>
  (entry as PerformanceEntry & { detail: { kind: number } }).detail.kind ===
  constants.NODE_PERFORMANCE_GC_MAJOR;
const identity = (n: number): number[] =>
  Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));

/** Of ((5, -2), (-2, 25)): a rotation by half the angle whose tangent is 4 / 20. */
const [COS, SIN] = [Math.cos(Math.atan(0.2) / 2), Math.sin(Math.atan(0.2) / 2)];
const EIGENVECTORS = [COS, SIN, SIN, COS];

describe("Tensor", () => {
  it("has each result before the work behind it ends, in the order asked, however much is queued", async () => {
    const order: number[] = [];
    const asked = Array.from({ length: 50 }, (_, i) =>
      Tensor.from([i], [1])
        .item()
        .then((value) => order.push(value)),
    );
    const start = performance.now();
    const early = Promise.all(asked).then(() => performance.now() - start);
    let product = Tensor.zeros([700, 700], { dtype: "float64" });
    for (let i = 0; i < 20; i++) product = product.matmul(product);
    await product.sum().item();
    const whole = performance.now() - start;
    expect(await early).toBeLessThan(whole / 2);
    expect(order).toEqual(asked.map((_, i) => i));
  });

  it("computes elementwise, reducing and shaping operations", async () => {
    const a = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3]);
    const b = Tensor.from([6, 5, 4, 3, 2, 1], [2, 3]);
    expect(await numbers(a.add(b))).toEqual([7, 7, 7, 7, 7, 7]);
    expect(await numbers(a.sub(1).mul(2))).toEqual([0, 2, 4, 6, 8, 10]);
    expect(await numbers(a.div(b).mul(b))).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await a.mse(b).item()).toBeCloseTo((25 + 9 + 1 + 1 + 9 + 25) / 6, 6);
    expect(await numbers(a.mean(0))).toEqual([2.5, 3.5, 4.5]);
    expect(await numbers(a.sum([1], true))).toEqual([6, 15]);
    expect(a.sum([1], true).shape).toEqual([2, 1]);
    expect(await numbers(a.permute([1, 0]))).toEqual([1, 4, 2, 5, 3, 6]);
    expect(await numbers(a.slice(1, 1, 3))).toEqual([2, 3, 5, 6]);
    expect(await numbers(a.matmul(b.transpose(0, 1)))).toEqual([28, 10, 73, 28]);
    expect(a.cat(b, 1).shape).toEqual([2, 6]);
    expect(Tensor.stack([a, b]).shape).toEqual([2, 2, 3]);
  });

  it.each<[string, (x: Tensor, y: Tensor) => Tensor, number[]]>([
    ["add", (x, y) => x.add(y).add(1), [3, 2.75, 5, 8]],
    ["sub", (x, y) => x.sub(y).sub(1), [-1, -6.75, 3, -2]],
    ["mul", (x, y) => x.mul(y).mul(2), [2, -15, 0, 24]],
    ["div", (x, y) => y.div(x).div(2), [0.5, -0.9375, 0, 2 / 3]],
    ["pow", (x) => x.pow(3), [1, -8, 64, 27]],
    ["maximum", (x, y) => x.maximum(y), [1, 3.75, 4, 4]],
    ["minimum", (x, y) => x.minimum(y), [1, -2, 0, 3]],
    ["clamp", (x) => x.clamp(-1, 3.5), [1, -1, 3.5, 3]],
    ["neg", (x) => x.neg(), [-1, 2, -4, -3]],
    ["abs", (x) => x.abs(), [1, 2, 4, 3]],
    ["square", (x) => x.square(), [1, 4, 16, 9]],
    ["sqrt", (x) => x.abs().sqrt(), [1, Math.SQRT2, 2, Math.sqrt(3)]],
    ["exp", (x) => x.exp(), [Math.E, Math.exp(-2), Math.exp(4), Math.exp(3)]],
    ["log", (x) => x.abs().log(), [0, Math.LN2, Math.log(4), Math.log(3)]],
    ["round", (_, y) => y.round(), [1, 4, 0, 4]],
    ["floor", (_, y) => y.sub(0.5).floor(), [0, 3, -1, 3]],
    ["relu", (x) => x.relu(), [1, 0, 4, 3]],
    ["softmax", (x) => x.softmax().sum(-1), [1, 1]],
    ["logSoftmax", (x) => x.mul(100).logSoftmax(), [0, -300, 0, -100]],
    [
      "cholesky",
      (x) => x.matmul(x.transpose(0, 1)).cholesky(),
      [Math.sqrt(5), 0, -2 / Math.sqrt(5), 11 / Math.sqrt(5)],
    ],
    ["eigenvectors", (x) => x.matmul(x.transpose(0, 1)).eigenvectors().abs(), EIGENVECTORS],
    [
      "singularValues",
      (x) => x.singularValues(),
      [Math.sqrt(15 + Math.sqrt(104)), Math.sqrt(15 - Math.sqrt(104))],
    ],
    ["sum", (x) => x.sum(), [6]],
    ["mean", (x) => x.mean(-1), [-0.5, 3.5]],
    ["amax", (x) => x.amax(0), [4, 3]],
    ["amin", (x) => x.amin([0, 1], true), [-2]],
    ["argmax", (x) => x.argmax(), [0, 0]],
    ["topk", (x) => x.topk(1, 0), [4, 3]],
    ["topk of rows", (x) => x.topk(2), [1, -2, 4, 3]],
    ["expand", (x) => x.slice(0, 0, 1).expand([2, 2]), [1, -2, 1, -2]],
    ["squeeze", (x) => x.unsqueeze(1).squeeze(1), [1, -2, 4, 3]],
    ["transpose", (x) => x.transpose(0, 1).contiguous(), [1, 4, -2, 3]],
    [
      "indexSelect",
      (x) => x.indexSelect(0, Tensor.from([1, 1, 0], [3], { dtype: "int64" })),
      [4, 3, 4, 3, 1, -2],
    ],
    [
      "indexSelect along columns",
      (x) => x.indexSelect(-1, Tensor.from([1], [1], { dtype: "int64" })),
      [-2, 3],
    ],
    ["clone", (x) => x.clone().detach(), [1, -2, 4, 3]],
  ])("computes %s", async (_, operation, expected) => {
    const x = Tensor.from([1, -2, 4, 3], [2, 2]);
    const y = Tensor.from([1, 3.75, 0, 4], [2, 2]);
    const actual = await numbers(operation(x, y));
    expect(actual).toHaveLength(expected.length);
    actual.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 5));
  });

  it("solves symmetric positive definite systems by their Cholesky factor, in float64", async () => {
    const n = 40;
    const m = new Random(5).normal([n, n], { dtype: "float64" });
    const a = m.matmul(m.transpose(0, 1)).add(Tensor.from(identity(n), [n, n], { dtype: "float64" }));
    const b = new Random(6).normal([n, 3], { dtype: "float64" });
    const x = b.choleskySolve(a.cholesky());
    expect(x.shape).toEqual([n, 3]);
    expect(x.dtype).toBe("float64");
    expect(await a.matmul(x).sub(b).abs().amax([0, 1]).item()).toBeLessThan(1e-11);
  });

  it("finds the rotation nearest to a matrix, of determinant 1 where a reflection would be nearer", async () => {
    const of = async (...elements: number[]): Promise<number[]> =>
      numbers(Tensor.from(Float64Array.from(elements), [2, 2]).nearestRotation());
    // Of ((a, b), (c, d)): the angle whose tangent is (c - b) / (a + d).
    for (const [a, b, c, d] of [
      [3, -1, 2, 5],
      [1, 2, 4, -3],
      [0, 1, 1, 0.5],
    ] as const) {
      // prettier-ignore
      const angle = Math.atan2(c - b, a + d);
      const expected = [Math.cos(angle), -Math.sin(angle), Math.sin(angle), Math.cos(angle)];
      (await of(a, b, c, d)).forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 14));
    }
    const n = 7;
    const matrix = new Random(9).at("rotation").normal([2, n, n], { dtype: "float64" });
    const mirrored = matrix.mul(Tensor.from([1, 1, 1, 1, 1, 1, -1], [n, 1], { dtype: "float64" }));
    for (const m of [matrix, mirrored]) {
      const r = m.nearestRotation();
      const left = r.transpose(1, 2).matmul(m); // RᵀM, symmetric
      expect(await left.sub(left.transpose(1, 2)).abs().amax([0, 1, 2]).item()).toBeLessThan(1e-13);
      const unit = r
        .transpose(1, 2)
        .matmul(r)
        .sub(Tensor.from(identity(n), [n, n], { dtype: "float64" }));
      expect(await unit.abs().amax([0, 1, 2]).item()).toBeLessThan(1e-13);
    }
    expect(matrix.nearestRotation().shape).toEqual([2, n, n]);
    expect(() => Tensor.zeros([2, 3]).nearestRotation()).toThrow(KpopError);
  });

  it("tells a matrix that has no Cholesky factor, and operands that do not fit", async () => {
    const indefinite = Tensor.from([1, 2, 2, 1], [2, 2]);
    await expect(indefinite.cholesky().data()).rejects.toMatchObject({ code: "NUMERIC_FAILURE" });
    expect(() => Tensor.zeros([2, 3]).cholesky()).toThrow(KpopError);
    const factor = Tensor.from([1, 0, 0, 1], [2, 2]);
    const refused = expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error;
    expect(() => Tensor.zeros([3, 1]).choleskySolve(factor)).toThrow(refused);
    expect(() => Tensor.zeros([2]).choleskySolve(factor)).toThrow(refused);
    expect(() => Tensor.zeros([2, 1], { dtype: "float64" }).choleskySolve(factor)).toThrow(refused);
  });

  it("differentiates abs, and an aliased slice", async () => {
    const x = Tensor.from([1, -2, 4, 3], [2, 2], { requiresGrad: true });
    await x.slice(0, 0, 1).abs().sum().backward();
    expect(await numbers(x.grad!)).toEqual([1, -1, 0, 0]);
  });

  it("says how much memory was asked for when there is not so much", async () => {
    const absurd = [2 ** 22, 2 ** 22];
    const refusal = expect.objectContaining({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/\d{13,}/),
    });
    expect(() => Tensor.empty(absurd)).toThrow(refusal);
    expect(() => Tensor.zeros(absurd)).toThrow(refusal);
    await expect(new Random(1).normal(absurd).data()).rejects.toEqual(refusal);
  });

  it("knows shape and dtype before the work has run", () => {
    const big = new Random(1).normal([64, 64, 64]);
    const result = big.matmul(big).mean([0], false).to("float64");
    expect(result.shape).toEqual([64, 64]);
    expect(result.dtype).toBe("float64");
  });

  it("throws at the call when shapes do not fit", () => {
    const call = (): Tensor => Tensor.from([1, 2], [2]).add(Tensor.from([1, 2, 3], [3]));
    expect(call).toThrow(KpopError);
    expect(call).toThrow(/add: .*size of tensor/);
  });

  it("rejects data whose count differs from the shape's", () => {
    expect(() => Tensor.from([1, 2, 3], [2, 2])).toThrow(/Expected data to be 4 elements/);
  });

  it("gives the one element of a tensor of any dtype and shape as a number, and of no other", async () => {
    for (const dtype of ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8"] as const) {
      expect(await Tensor.from([100], [1, 1], { dtype }).item()).toBe(100);
    }
    expect(await Tensor.from([2], []).to("bool").item()).toBe(1);
    expect(await Tensor.from(new BigInt64Array([-(2n ** 53n)]), []).item()).toBe(-(2 ** 53));
    expect(await Tensor.from([1], []).div(0).item()).toBe(Infinity);
    for (const shape of [[0], [2]]) {
      const refused = Tensor.zeros(shape).item();
      await expect(refused).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  it("keeps every dtype through from, to and data", async () => {
    for (const dtype of ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8"] as const) {
      const tensor = Tensor.from([0, 1, 2, 100], [4], { dtype });
      expect(tensor.dtype).toBe(dtype);
      expect(await numbers(tensor)).toEqual([0, 1, 2, 100]);
    }
    expect(await Tensor.from([1.5], [1]).to("float16").bytes()).toEqual(new Uint8Array([0x00, 0x3e]));
  });

  it("differentiates, and accumulates into grad", async () => {
    const x = Tensor.from([1, 2, 3], [3], { requiresGrad: true });
    await x.square().sum().backward();
    expect(await numbers(x.grad!)).toEqual([2, 4, 6]);
    await x.mul(3).sum().backward();
    expect(await numbers(x.grad!)).toEqual([5, 7, 9]);
    await x.zeroGrad();
    expect(x.grad).toBeNull();
  });

  it("asks for gradients from the start, of floating-point tensors", async () => {
    for (const x of [
      Tensor.zeros([2], { requiresGrad: true }),
      Tensor.from([0, 0], [2], { requiresGrad: true }),
    ]) {
      await x.mul(3).sum().backward();
      expect(await numbers(x.grad!)).toEqual([3, 3]);
    }
    const refused = expect.objectContaining({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/dtype/),
    });
    expect(() => Tensor.zeros([2], { dtype: "int64", requiresGrad: true })).toThrow(refused);
    expect(() => Tensor.from([1], [1], { dtype: "int32", requiresGrad: true })).toThrow(refused);
  });

  it("tells a gradient without waiting for the work that runs", async () => {
    const x = Tensor.from([1, 2], [2], { requiresGrad: true });
    await x.square().sum().backward();
    const same = x.to("float32");
    const start = performance.now();
    const long = new Random(1).normal([2 ** 24]);
    const gradient = x.grad!;
    const told = performance.now() - start;
    await long.settled();
    long.dispose();
    expect(told).toBeLessThan((performance.now() - start) / 2);
    expect(await numbers(gradient)).toEqual([2, 4]);
    expect(await numbers(same.grad!)).toEqual([2, 4]);
    await x.zeroGrad();
    expect(same.grad).toBeNull();
  });

  it("fills zeros and frees memory away from the JavaScript thread", async () => {
    const times = [performance.now()];
    const zeros = Tensor.zeros([2 ** 26]); // 256 MiB
    times.push(performance.now());
    await zeros.settled();
    times.push(performance.now());
    zeros.dispose();
    times.push(performance.now());
    const [made, filled, freed] = [1, 2, 3].map((i) => times[i]! - times[i - 1]!) as [number, number, number];
    expect(made).toBeLessThan(filled / 4);
    expect(freed).toBeLessThan(filled / 4);
  });

  it("copies large data without a team of threads on the JavaScript thread", async () => {
    const env = { OMP_NUM_THREADS: "4" };
    const result = await runProgram("count-threads.mjs", [], { env });
    const { copying, computing } = resultOf<{ copying: number; computing: number }>(result);
    expect(copying).toBe(0);
    expect(computing).toBeGreaterThan(0);
  });

  it("tells V8 of host memory once, however many tensors share it", async () => {
    const base = Tensor.zeros([2 ** 24]); // 64 MiB
    let collections = 0;
    const observer = new PerformanceObserver((list) => {
      const major = list.getEntries().filter((entry) => isMajor(entry));
      collections += major.length;
    });
    observer.observe({ entryTypes: ["gc"] });
    // 12 GiB, if each told of its own: enough for V8 to collect garbage ten times.
    for (let i = 0; i < 100; i++) {
      base.to("float32");
      base.contiguous();
      await new Promise(setImmediate);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    observer.disconnect();
    base.dispose();
    expect(collections).toBeLessThan(5);
  });

  it("records no graph inside noGrad, even across awaits", async () => {
    const x = Tensor.from([1], [1], { requiresGrad: true });
    const y = await noGrad(async () => {
      await Promise.resolve();
      return x.mul(2).sum();
    });
    await expect(y.backward()).rejects.toMatchObject({ name: "KpopError", code: "NATIVE_FAILURE" });
  });

  it("says of a mistake in shapes which operation it is of, and the shapes", () => {
    const [a, b] = [Tensor.zeros([2, 3]), Tensor.zeros([4, 5], { dtype: "float64" })];
    const failing = (operation: string, shapes: string): unknown =>
      expect.objectContaining({
        ...{ name: "KpopError", code: "NATIVE_FAILURE", operation },
        message: expect.stringContaining(`given ${shapes})`) as string,
      });
    expect(() => a.add(b)).toThrow(failing("add", "float32 [2, 3] and float64 [4, 5]") as Error);
    expect(() => a.reshape([4])).toThrow(failing("reshape", "float32 [2, 3]") as Error);
  });

  it("refuses options that it has not, and elements that are no numbers", () => {
    const given = (data: unknown, shape: number[], options?: unknown) => () =>
      Tensor.from(data as number[], shape, options as TensorOptions);
    const code = expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error;
    expect(given([1], [1], { requires_grad: true })).toThrow(/Unknown option "requires_grad"/);
    for (const call of [
      given([1], [1], null),
      given(null, [1]),
      given("a", [1]),
      given([1, "x"], [2]),
      given([1.5], [1], { dtype: "int64" }),
      given([NaN], [1], { dtype: "int64" }),
      () => Tensor.zeros([1], { foo: 1 } as TensorOptions),
    ])
      expect(call).toThrow(code);
    // Another tensor says dtype and device.
    expect(Tensor.zeros([2], Tensor.zeros([1], { dtype: "float64" })).dtype).toBe("float64");
  });

  it("refuses a device that is none, and one that is not there", () => {
    for (const device of ["tpu", "meta", "", "cuda:", "cpu:1"]) {
      const refused = expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("device"),
      });
      expect(() => Tensor.from([1], [1], { device })).toThrow(refused as Error);
      expect(() => Tensor.from([1], [1]).to({ device })).toThrow(refused as Error);
    }
    const missing = expect.objectContaining({ code: "DEVICE_UNAVAILABLE" }) as Error;
    expect(() => Tensor.from([1], [1], { device: "cuda:99" })).toThrow(missing);
    expect(() => new Random(1).normal([2], { device: "cuda:99" })).toThrow(missing);
  });

  it("carries the failure of one operation to all that depend on it", async () => {
    const huge = Tensor.from([1], [1])
      .expand([2 ** 44])
      .contiguous();
    await expect(huge.sum().item()).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  });

  it("writes through hostBytes", async () => {
    const tensor = Tensor.empty([2], "float32");
    tensor.hostBytes().set(new Uint8Array(new Float32Array([4, 5]).buffer));
    expect(await numbers(tensor)).toEqual([4, 5]);
  });

  it("refuses a disposed tensor and says so", () => {
    const tensor = Tensor.from([1], [1]);
    tensor.dispose();
    tensor.dispose();
    expect(() => tensor.add(1)).toThrow(expect.objectContaining({ code: "DISPOSED" }));
  });

  it("survives disposal while its work is queued", async () => {
    const a = new Random(3).normal([256, 256]);
    const product = a.matmul(a).matmul(a);
    a.dispose();
    const total = product.sum();
    product.dispose();
    expect(Number.isFinite(await total.item())).toBe(true);
  });
});
