import type { NativeOptimizer } from "../runtime/binding";
import { finite, flag, invalid, knownKeys } from "../check";
import { addon } from "../runtime/binding";
import { unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";

/** Constants of Adam and AdamW. */
export interface AdamOptions {
  /** Decay rates of the first and second moment. Default [0.9, 0.999]. */
  betas?: [number, number];
  /** Default 1e-8. */
  eps?: number;
  /** Strength of the decay, >= 0. Default 0. */
  weightDecay?: number;
  /**
   * Where the decay goes. false: an L2 penalty, added to the gradient (Adam). true: the parameters shrink by
   * learning rate × weightDecay before the update (AdamW, arXiv 1711.05101, algorithm 2). Default false.
   */
  decoupled?: boolean;
}

/**
 * Adam (arXiv 1412.6980, algorithm 1), or AdamW, over a fixed list of leaf tensors; the learning rate comes with each
 * step.
 */
export class Adam {
  private aliases: ReadonlyMap<string, Tensor> | undefined;

  private constructor(
    private readonly native: NativeOptimizer,
    private readonly parameters: readonly Tensor[],
  ) {}

  /** @param parameters leaves of a floating dtype, on one device */
  static async create(parameters: readonly Tensor[], options: AdamOptions = {}): Promise<Adam> {
    if (parameters.length === 0) throw invalid("parameters", "at least one tensor", parameters);
    knownKeys("the options of Adam", options, ["betas", "eps", "weightDecay", "decoupled"]);
    const [beta1, beta2] = options.betas ?? [0.9, 0.999];
    const native = await addon().createAdam(
      parameters.map((parameter) => parameter.native),
      {
        beta1: finite("betas[0]", beta1, 0, 1),
        beta2: finite("betas[1]", beta2, 0, 1),
        eps: finite("eps", options.eps ?? 1e-8, 0),
        weightDecay: finite("weightDecay", options.weightDecay ?? 0, 0),
        decoupled: flag("decoupled", options.decoupled ?? false),
      },
    );
    return new Adam(native, parameters);
  }

  /** Updates every parameter that has a gradient, and no other; then drops the gradients. */
  async step(learningRate: number): Promise<void> {
    for (const parameter of this.parameters) parameter.written = true;
    await this.native.step(finite("learningRate", learningRate, 0));
  }

  /** The live moments and step counts by name, for saving and, through `copyFrom`, for restoring. */
  state(): ReadonlyMap<string, Tensor> {
    this.aliases ??= unscoped(() => {
      const { first, second, steps } = this.native.state();
      return new Map(
        Object.entries({ first, second, steps }).flatMap(([kind, tensors]) =>
          tensors.map((tensor, index) => [`${kind}.${index}`, new Tensor(tensor)] as const),
        ),
      );
    });
    return this.aliases;
  }

  dispose(): void {
    for (const tensor of this.aliases?.values() ?? []) tensor.dispose();
    this.native.dispose();
  }
}
