import type { UNet2DConditionModel } from "../../models/unet";
import { Adam, type AdamOptions } from "../../nn/optimizer";
import { requireGradients, type Tensor } from "../../runtime/tensor";

/** Adam over the trained weights of a network. They ask for gradients only between `open` and `step`. */
export class Trainer {
  private constructor(
    private readonly parameters: ReadonlyMap<string, Tensor>,
    private readonly optimizer: Adam,
  ) {}

  static async create(
    network: Pick<UNet2DConditionModel, "parameter">,
    names: readonly string[],
    options: AdamOptions = {},
  ): Promise<Trainer> {
    const parameters = new Map(names.map((name) => [name, network.parameter(name)]));
    return new Trainer(parameters, await Adam.create([...parameters.values()], options));
  }

  /** From now on forwards with `grad` record a graph for the weights. */
  async open(): Promise<void> {
    await requireGradients([...this.parameters.values()], true);
  }

  /** One update with the gradients added up since; the weights then ask for none. */
  async step(learningRate: number): Promise<void> {
    await this.optimizer.step(learningRate);
    await requireGradients([...this.parameters.values()], false);
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
