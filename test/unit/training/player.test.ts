import { Player, type PlayerOptions } from "../../../lib/training/player";
import { Tensor } from "../../../lib/runtime/tensor";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** Three weights, of which a and b are learned. */
async function play(options: Partial<PlayerOptions> = {}) {
  const weights = {
    a: Tensor.from([1, 2], [2]),
    b: Tensor.from([3], [1]),
    c: Tensor.from([4], [1]),
  };
  const learned = new Map(Object.entries({ a: weights.a, b: weights.b }));
  let touched = 0;
  const complete = { learningRate: 0.5, iterations: 4, ...options };
  const player = await Player.create(learned, complete, () => (touched += 1));
  const loss = (): Tensor => weights.a.sum().add(weights.b.sum()).add(weights.c.sum());
  const differentiable = (): Promise<boolean> =>
    loss()
      .backward()
      .then(
        () => true,
        () => false,
      );
  return { weights, player, loss, differentiable, touched: () => touched };
}

describe("Player", () => {
  it("moves what is learned by Adam's first step, and nothing else; gives what the body gives", async () => {
    const { weights, player, loss } = await play();
    const given = await player.update(0, async (backward) => ({ erase: await backward(loss()) }));
    expect(await given.erase.item()).toBe(10);
    expect((await numbers(weights.a)).map((value) => value.toFixed(5))).toEqual(["0.50000", "1.50000"]);
    expect((await numbers(weights.b))[0]).toBeCloseTo(2.5, 5);
    expect(await numbers(weights.c)).toEqual([4]);
  });

  it("asks for gradients within an update alone, and says that it has begun before it touches anything", async () => {
    const { weights, player, differentiable, touched } = await play();
    expect([await differentiable(), touched()]).toEqual([false, 0]);
    await player.update(0, async () => {
      expect([await differentiable(), touched()]).toEqual([true, 1]);
      expect(await numbers(weights.a)).toEqual([1, 2]);
    });
    expect([await differentiable(), touched()]).toEqual([false, 1]);
  });

  it("adds up the gradients of several weighted losses, gives them unweighted, and begins the next with none", async () => {
    const { weights, player, loss } = await play();
    await player.update(0, async (backward) => {
      const losses = [await backward(loss()), await backward(loss(), 2)];
      expect(await Promise.all(losses.map((one) => one.item()))).toEqual([10, 10]);
      expect(await numbers(weights.a.grad!)).toEqual([3, 3]);
    });
    await player.update(1, async () => {
      expect(weights.a.grad).toBeNull();
    });
  });

  it("brings a gradient through float16 that would be zero there, and gives it as it is", async () => {
    const gradientWith = async (lossScale: number): Promise<number[]> => {
      const { weights, player } = await play({ lossScale });
      return player.update(0, async (backward) => {
        const through = weights.a.to("float16").to("float32");
        await backward(through.sum().mul(2 ** -28));
        return numbers(weights.a.grad!);
      });
    };
    expect(await gradientWith(1)).toEqual([0, 0]); // float16's smallest number is 2⁻²⁴
    // What is read within the update is scaled.
    expect(await gradientWith(4096)).toEqual([2 ** -16, 2 ** -16]);
  });

  it("steps by the gradients without the scale, which Adam's eps is compared with", async () => {
    const steps = await Promise.all(
      [1, 4096].map(async (lossScale) => {
        const { weights, player, loss } = await play({ lossScale, eps: 1 });
        await player.update(0, async (backward) => backward(loss(), 0.5));
        return numbers(weights.a);
      }),
    );
    expect(steps[1]).toEqual(steps[0]);
    expect(steps[0]![0]).toBeCloseTo(1 - 0.5 * (0.5 / 1.5), 6);
  });

  it("passes on Adam's options, and scales the gradients down to a norm before its step", async () => {
    // eps of the gradients' own size makes Adam's first step depend on them: g / (|g| + eps).
    const { weights, player, loss } = await play({ eps: 1, maxGradientNorm: 0.5, learningRate: 1 });
    await player.update(0, (backward) => backward(loss()));
    // Three gradients of 1 have the norm √3.
    const g = 0.5 / Math.sqrt(3);
    expect((await numbers(weights.a))[0]).toBeCloseTo(1 - g / (g + 1), 5);
    expect((await numbers(weights.b))[0]).toBeCloseTo(3 - g / (g + 1), 5);
  });

  it("follows its rate over the iterations, from the beginning again where they are over", async () => {
    const asked: [number, number][] = [];
    const learningRate = (iteration: number, iterations: number): number => {
      asked.push([iteration, iterations]);
      return 0.1 * (iteration + 1);
    };
    const { weights, player, loss } = await play({ learningRate, iterations: 2 });
    const steps: number[] = [];
    for (const iteration of [0, 1, 2]) {
      const before = (await numbers(weights.b))[0]!;
      await player.update(iteration, (backward) => backward(loss()));
      steps.push(before - (await numbers(weights.b))[0]!);
    }
    expect(asked).toEqual([
      [0, 2],
      [1, 2],
      [0, 2],
    ]);
    // With a gradient that stays the same, Adam steps by its rate.
    expect(steps.map((step) => step.toFixed(4))).toEqual(["0.1000", "0.2000", "0.1000"]);
  });

  it("after a restart steps as a new optimizer does", async () => {
    const [used, fresh] = [await play(), await play()];
    await used.player.update(0, (backward) => backward(used.loss(), -7));
    await used.player.restart();
    for (const tensor of ["a", "b"] as const)
      await used.weights[tensor].copyFrom(fresh.weights[tensor].detach());
    for (const { player, loss } of [used, fresh])
      for (const i of [0, 1]) await player.update(i, (backward) => backward(loss().square()));
    expect(await numbers(used.weights.a)).toEqual(await numbers(fresh.weights.a));
    expect(await numbers(used.weights.b)).toEqual(await numbers(fresh.weights.b));
  });

  it("names live tensors and moments for the saved state, and frees the moments alone", async () => {
    const { weights, player } = await play();
    const tensors = player.tensors();
    const moments = ["first.0", "first.1", "second.0", "second.1", "steps.0", "steps.1"];
    expect([...tensors.keys()].sort()).toEqual(["a", "b", ...moments.map((name) => `adam.${name}`)].sort());
    expect(tensors.get("a")).toBe(weights.a);
    player.dispose();
    const freed = [...tensors].filter(([, tensor]) => tensor.disposed).map(([name]) => name);
    expect(freed.sort()).toEqual(moments.map((name) => `adam.${name}`).sort());
  });
});
