import { combine } from "../../diffusion/guidance";
import { ddimCoefficients } from "../../diffusion/samplers/ddim";
import {
  trainingTrajectory,
  type TrainingTrajectory,
  type TrajectorySampling,
} from "../../diffusion/samplers/training-trajectory";
import type { UNet2DConditionModel } from "../../models/unet";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureContext } from "../method";
import type { KnownPredictions } from "./latent-source";

export interface TrajectoryOptions {
  sampling: TrajectorySampling;
  samplingSteps: number;
  /** Guidance scale of the trajectories. */
  startGuidance: number;
}

/** Moves latents along guided DDIM trajectories of a network, without gradients. */
export class TrajectorySampler {
  readonly trajectory: TrainingTrajectory;
  private readonly latentShape: readonly number[];

  /**
   * @param texts (n, L, d), the conditions by index
   * @param empty (1, L, d), of ""
   * @param network whose predictions move them; default the student
   */
  constructor(
    private readonly context: ErasureContext,
    private readonly options: TrajectoryOptions,
    private readonly texts: Tensor,
    private readonly empty: Tensor,
    private readonly network: UNet2DConditionModel = context.student,
  ) {
    const { base } = context;
    this.trajectory = trainingTrajectory(options.sampling, base.schedule, options.samplingSteps);
    const side = base.imageSize / base.vae.downsampling;
    this.latentShape = [1, base.unet.config.in_channels, side, side];
  }

  /** Fresh noise, (1, 4, h, w), a function of the labels alone. */
  noise(...labels: (string | number)[]): Tensor {
    return this.context.random.at(...labels).normal(this.latentShape, { device: this.context.base.device });
  }

  /** The condition of one text, (1, L, d). */
  text(index: number): Tensor {
    return this.texts.slice(0, index, index + 1);
  }

  /**
   * The latents after `to` steps, from those after `from`; a larger stride takes fewer, longer steps.
   * @param known predictions for the first of the steps, where there are any already
   */
  async move(
    latents: Tensor,
    text: number,
    from: number,
    to: number,
    stride = 1,
    known?: KnownPredictions,
  ): Promise<Tensor> {
    return scope(async () => {
      let z = latents;
      for (let at = from; at < to; at = Math.min(at + stride, to)) {
        z = await this.step(z, text, at, Math.min(at + stride, to), at === from ? known : undefined);
      }
      return z.detach().clone();
    });
  }

  private async step(
    z: Tensor,
    text: number,
    from: number,
    to: number,
    known: KnownPredictions | undefined,
  ): Promise<Tensor> {
    const { schedule } = this.context.base;
    const timestep = this.level(from);
    const { latents, noise } = ddimCoefficients(
      schedule.alphaCumprod(timestep),
      schedule.alphaCumprod(this.level(to)),
    );
    return z.mul(latents).add((await this.guided(z, timestep, text, known)).mul(noise));
  }

  private async guided(
    z: Tensor,
    timestep: number,
    text: number,
    known: KnownPredictions | undefined,
  ): Promise<Tensor> {
    const { context, empty, network } = this;
    const { startGuidance: scale } = this.options;
    const one = (condition: Tensor): Promise<Tensor> => context.predict(network, z, [timestep], condition);
    if (scale === 1) return known?.conditional ?? one(this.text(text));
    if (known !== undefined)
      return combine(known.unconditional ?? (await one(empty)), known.conditional, scale);
    const both = await context.predict(
      network,
      Tensor.cat([z, z]),
      [timestep, timestep],
      Tensor.cat([empty, this.text(text)]),
    );
    return combine(both.slice(0, 0, 1), both.slice(0, 1, 2), scale);
  }

  /** The timestep of the noise level after that many steps; behind the last step it is timestep 0's. */
  private level(executed: number): number {
    return this.trajectory.steps[executed]?.timestep ?? 0;
  }
}
