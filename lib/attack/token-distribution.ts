import { Adam } from "../nn/optimizer";
import { noGrad } from "../runtime/grad-mode";
import type { Random } from "../runtime/random";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { projectOntoSimplex } from "./simplex";

/**
 * Tokens under search: for each of k places a distribution over candidate ids, on the probability simplex. Tokens are
 * sampled from it; the gradient of what they do goes straight through to the probabilities (UnlearnDiffAtk,
 * arXiv 2310.11868, §4).
 */
export class TokenDistribution {
  private constructor(
    /** (k, n) float32. */
    private readonly rows: Tensor,
    /** (n) int64, ids of the candidates. */
    private readonly candidates: Tensor,
    private readonly optimizer: Adam,
  ) {}

  /**
   * Uniform to begin with.
   * @param candidates ids, n of them
   * @param options.weightDecay decoupled, of Adam
   */
  static async create(
    places: number,
    candidates: readonly number[],
    options: { weightDecay: number; device: string },
  ): Promise<TokenDistribution> {
    const { weightDecay, device } = options;
    const rows = Tensor.zeros([places, candidates.length], { device });
    const ids = Tensor.from(candidates, [candidates.length], { dtype: "int64", device });
    const optimizer = await Adam.create([rows], { weightDecay, decoupled: true });
    const distribution = new TokenDistribution(rows, ids, optimizer);
    await distribution.reset();
    return distribution;
  }

  /** Back to the beginning: uniform, and Adam as new. */
  async reset(): Promise<void> {
    await scope(async () => {
      const { rows, optimizer } = this;
      const [, count] = rows.shape as [number, number];
      await rows.copyFrom(Tensor.zeros(rows.shape, { device: rows.device }).add(1 / count));
      for (const tensor of optimizer.state().values())
        await tensor.copyFrom(Tensor.zeros(tensor.shape, { dtype: tensor.dtype, device: tensor.device }));
    });
  }

  /** One token for each place, (k) int64. */
  sample(random: Random): Tensor {
    return scope(() =>
      noGrad(() => {
        const { rows, candidates } = this;
        // A race: the first of exponential clocks with the probabilities as their rates is a draw from them, and half the
        // square length of a normal pair is such a clock of rate 1.
        const pairs = random.normal([2, ...rows.shape]).to({ device: rows.device });
        const clocks = pairs.square().sum(0).div(2).clamp(1e-30, Infinity);
        return candidates.indexSelect(0, rows.div(clocks).argmax(-1));
      }),
    );
  }

  /**
   * One step of Adam, and back onto the simplex.
   * @param gradient with respect to one-hot rows over all ids, (k, V); passed on after a hard tanh
   */
  async descend(gradient: Tensor, learningRate: number): Promise<void> {
    await scope(async () => {
      const { rows, candidates, optimizer } = this;
      const passed = gradient.indexSelect(1, candidates).clamp(-1, 1);
      await rows.requireGrad();
      // The loss whose gradient it is: the optimiser takes no gradient but that of a loss.
      await rows.mul(passed).sum().backward([rows]);
      await optimizer.step(learningRate);
      await rows.requireGrad(false);
      await rows.copyFrom(await projectOntoSimplex(rows));
    });
  }

  /** The most probable id of each place. */
  likeliest(): Promise<number[]> {
    return scope(async () =>
      Array.from(await this.candidates.indexSelect(0, this.rows.argmax(-1)).data(), Number),
    );
  }

  /** Live, for a run's state. */
  tensors(): ReadonlyMap<string, Tensor> {
    return new Map([["rows", this.rows], ...this.optimizer.state()]);
  }

  dispose(): void {
    this.optimizer.dispose();
    this.rows.dispose();
    this.candidates.dispose();
  }
}
