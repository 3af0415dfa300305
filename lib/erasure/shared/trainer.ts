import type { UNet2DConditionModel } from "../../models/unet";
import { clipGradients } from "../../nn/clip-gradients";
import { Adam, type AdamOptions } from "../../nn/optimizer";
import { requireGradients, type Tensor } from "../../runtime/tensor";

/** Adam's constants, and what comes before its step. */
export interface TrainerOptions extends AdamOptions {
  /** Norm that the gradients of all weights together are scaled down to. Default: they stay as they are. */
  maxGradientNorm?: number;
}

/** Adam over the trained weights of a network. They ask for gradients only between `open` and `step`. */
export class Trainer {
  private constructor(
    private readonly parameters: ReadonlyMap<string, Tensor>,
    private readonly optimizer: Adam,
    private readonly maxGradientNorm: number | undefined,
  ) {}

  static async create(
    network: Pick<UNet2DConditionModel, "parameter">,
    names: readonly string[],
    { maxGradientNorm, ...adam }: TrainerOptions = {},
  ): Promise<Trainer> {
    const parameters = new Map(names.map((name) => [name, network.parameter(name)]));
    return new Trainer(parameters, await Adam.create([...parameters.values()], adam), maxGradientNorm);
  }

  /** From now on forwards with `grad` record a graph for the weights. */
  async open(): Promise<void> {
    await requireGradients([...this.parameters.values()], true);
  }

  /** One update with the gradients added up since; the weights then ask for none. */
  async step(learningRate: number): Promise<void> {
    const weights = [...this.parameters.values()];
    if (this.maxGradientNorm !== undefined) await clipGradients(weights, this.maxGradientNorm);
    await this.optimizer.step(learningRate);
    await requireGradients(weights, false);
  }

  /** The live weights and moments, for the run's saved state. */
  tensors(): Map<string, Tensor> {
    return new Map([
      ...[...this.parameters].map(([name, tensor]) => [`weight.${name}`, tensor] as const),
      ...[...this.optimizer.state()].map(([name, tensor]) => [`optimizer.${name}`, tensor] as const),
    ]);
  }

  dispose(): void {
    this.optimizer.dispose();
  }
}
