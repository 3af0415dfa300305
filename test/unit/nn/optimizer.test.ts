import { Adam } from "../../../lib/nn/optimizer";
import { Tensor } from "../../../lib/runtime/tensor";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const close = (actual: readonly number[], expected: readonly number[], tolerance = 1e-6): void => {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, i) =>
    expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(
      tolerance * Math.max(1, Math.abs(expected[i]!)),
    ),
  );
};

const RATES = [0.1, 0.05, 0.2, 0.01];

interface Leaves {
  a: Tensor;
  b: Tensor;
  /** Takes no part in the loss. */
  c: Tensor;
}

const leaves = (): Leaves => ({
  a: Tensor.from([1, -2, 3], [3], { requiresGrad: true }),
  b: Tensor.from([0.5, 0.25], [1, 2], { requiresGrad: true }),
  c: Tensor.from([7], [1], { requiresGrad: true }),
});

/** Step i of a small problem: Σ k a_k² + Σ b³, the second term left out at i = 1. */
async function step(optimizer: Adam, { a, b }: Leaves, i: number): Promise<void> {
  const quadratic = a
    .square()
    .mul(Tensor.from([1, 2, 3], [3]))
    .sum();
  const loss = i === 1 ? quadratic : quadratic.add(b.square().mul(b).sum());
  await loss.backward();
  await optimizer.step(RATES[i]!);
}

describe("Adam", () => {
  it("is the closed form of a first step: each element moves by the learning rate, against its gradient's sign", async () => {
    const x = Tensor.from([4, -3, 100], [3], { requiresGrad: true });
    const optimizer = await Adam.create([x]);
    await x
      .mul(Tensor.from([0.5, -20, 1e-3], [3]))
      .sum()
      .backward();
    await optimizer.step(0.25);
    close(await numbers(x), [3.75, -2.75, 99.75]);
  });

  // torch.optim.Adam and AdamW (decoupled) of torch 2.13.0 on the same problem.
  it.each([
    [
      {},
      {
        a: [0.642068088054657, -1.6408299207687378, 2.640512466430664],
        b: [0.19858798384666443, -0.03340531140565872],
        "first.0": [0.5749954581260681, -2.5251214504241943, 5.850898742675781],
        "second.0": [0.011809376068413258, 0.21976137161254883, 1.170208215713501],
        "first.1": [0.116790771484375, 0.02147342450916767],
        "second.1": [0.0008080336847342551, 3.9642116462346166e-5],
      },
    ],
    [
      { betas: [0.8, 0.95] as [number, number], eps: 1e-4, weightDecay: 0.3 },
      {
        a: [0.6429799199104309, -1.641261100769043, 2.640794515609741],
        b: [0.19913050532341003, -0.03531208634376526],
        "first.0": [1.1135834455490112, -4.619242191314697, 10.486684799194336],
        "second.0": [0.7144519686698914, 11.709266662597656, 59.63309097290039],
        "first.1": [0.24943433701992035, 0.050373971462249756],
        "second.1": [0.055479828268289566, 0.003712955629453063],
      },
    ],
    [
      { betas: [0.8, 0.95] as [number, number], eps: 1e-4, weightDecay: 0.3, decoupled: true },
      {
        a: [0.5510220527648926, -1.4444609880447388, 2.339344024658203],
        b: [0.16435326635837555, -0.04203134402632713],
        "first.0": [0.9107410907745361, -4.056211471557617, 9.438034057617188],
        "second.0": [0.4951518177986145, 9.25113582611084, 49.34265899658203],
        "first.1": [0.18500734865665436, 0.034522540867328644],
        "second.1": [0.03517504408955574, 0.0017637043492868543],
      },
    ],
  ])("takes torch's four steps with options %j, within 1e-6", async (options, expected) => {
    const given = leaves();
    const optimizer = await Adam.create([given.a, given.b, given.c], options);
    for (const i of RATES.keys()) await step(optimizer, given, i);
    const state = optimizer.state();
    for (const [name, values] of Object.entries(expected)) {
      const tensor = name === "a" ? given.a : name === "b" ? given.b : state.get(name)!;
      close(await numbers(tensor), values);
    }
  });

  it("skips a parameter without gradient: its value, moments and count stay", async () => {
    const given = leaves();
    const optimizer = await Adam.create([given.a, given.b, given.c]);
    for (const i of RATES.keys()) await step(optimizer, given, i);
    const state = optimizer.state();
    expect(await numbers(given.c)).toEqual([7]);
    expect(await numbers(state.get("first.2")!)).toEqual([0]);
    expect(await numbers(state.get("second.2")!)).toEqual([0]);
    const counts = [0, 1, 2].map((index) => state.get(`steps.${index}`)!.item());
    expect(await Promise.all(counts)).toEqual([4, 3, 0]);
  });

  it("drops the gradients with the step", async () => {
    const x = Tensor.from([1], [1], { requiresGrad: true });
    const optimizer = await Adam.create([x]);
    await x.sum().backward();
    expect(x.grad).not.toBeNull();
    await optimizer.step(0.1);
    expect(x.grad).toBeNull();
  });

  it("goes on to the same bits from a state copied into another optimizer", async () => {
    const whole = leaves();
    const first = await Adam.create([whole.a, whole.b, whole.c]);
    for (const i of [0, 1]) await step(first, whole, i);
    const resumed = leaves();
    const second = await Adam.create([resumed.a, resumed.b, resumed.c]);
    await resumed.a.copyFrom(whole.a);
    await resumed.b.copyFrom(whole.b);
    for (const [name, tensor] of first.state()) await second.state().get(name)!.copyFrom(tensor);
    for (const i of [2, 3]) {
      await step(first, whole, i);
      await step(second, resumed, i);
    }
    expect(await numbers(resumed.a)).toEqual(await numbers(whole.a));
    expect(await numbers(resumed.b)).toEqual(await numbers(whole.b));
  });

  it("marks its parameters as written, so that they are saved", async () => {
    const x = Tensor.from([1], [1], { requiresGrad: true });
    const optimizer = await Adam.create([x]);
    expect(x.written).toBe(false);
    await optimizer.step(0.1);
    expect(x.written).toBe(true);
  });

  it("refuses an empty list, options and rates out of range, and unknown options", async () => {
    const x = Tensor.from([1], [1], { requiresGrad: true });
    const refused = { name: "KpopError", code: "INVALID_ARGUMENT" };
    await expect(Adam.create([])).rejects.toMatchObject(refused);
    await expect(Adam.create([x], { betas: [1.5, 0.9] })).rejects.toMatchObject(refused);
    await expect(Adam.create([x], { eps: -1 })).rejects.toMatchObject(refused);
    await expect(Adam.create([x], { decoupled: 1 } as object)).rejects.toMatchObject(refused);
    await expect(Adam.create([x], { epsilon: 1 } as object)).rejects.toMatchObject(refused);
    const optimizer = await Adam.create([x]);
    for (const rate of [-1, NaN, Infinity]) await expect(optimizer.step(rate)).rejects.toMatchObject(refused);
  });

  it("refuses tensors that are no leaves of a floating dtype", async () => {
    const x = Tensor.from([1, 2], [2], { requiresGrad: true });
    const whole = Tensor.from([1n].map(Number), [1], { dtype: "int64" });
    for (const parameter of [x.mul(2), whole])
      await expect(Adam.create([parameter])).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("leaf tensors of a floating dtype") as string,
      });
  });

  it("says so when it is used after dispose", async () => {
    const x = Tensor.from([1], [1], { requiresGrad: true });
    const optimizer = await Adam.create([x]);
    optimizer.dispose();
    optimizer.dispose();
    await expect(optimizer.step(0.1)).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
