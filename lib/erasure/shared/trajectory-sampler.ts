import { rows, textsIn, type Condition } from "../../diffusion/condition";
import { combine } from "../../diffusion/guidance";
import { evaluateEach, predictNoise, type Denoiser } from "../../diffusion/predict";
import { ddimCoefficients } from "../../diffusion/samplers/ddim";
import {
  trainingTrajectory,
  type TrainingTrajectory,
  type TrajectorySampling,
} from "../../diffusion/samplers/training-trajectory";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { throwIfAborted } from "../../errors";
import type { ErasureRun } from "../parts";
import type { KnownPredictions } from "./latent-source";

/** What a trajectory is like. */
export interface TrajectoryShape {
  readonly sampling: TrajectorySampling;
  readonly samplingSteps: number;
  /** Guidance scale of the trajectories. */
  readonly startGuidance: number;
}

/** How a trajectory is moved on. */
export interface MoveOptions {
  readonly known?: KnownPredictions | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly trajectory?: number;
}

/** Texts that trajectories lead towards. */
export interface TrajectoryTexts {
  /** How many there are. */
  readonly count: number;
  /** One of them, as the trajectory of that number has it: (1, L, d). */
  of(text: number, trajectory: number): Promise<Condition>;
}

/** A condition's texts, the same for every trajectory. */
export function textsOf(condition: Condition): TrajectoryTexts {
  return { count: textsIn(condition), of: async (text) => rows(condition, [text]) };
}

/** Moves latents along guided DDIM trajectories of a network, without gradients. */
export class TrajectorySampler {
  readonly trajectory: TrainingTrajectory;
  private readonly latentShape: readonly number[];

  /**
   * @param empty of ""
   * @param network whose predictions move them
   */
  constructor(
    private readonly job: Pick<ErasureRun, "base" | "random">,
    protected readonly options: TrajectoryShape,
    private readonly texts: TrajectoryTexts,
    private readonly empty: Condition,
    private readonly network: Denoiser,
  ) {
    const { base } = job;
    this.trajectory = trainingTrajectory(options.sampling, base.schedule, options.samplingSteps);
    const side = base.imageSize / base.vae.downsampling;
    this.latentShape = [1, base.unet.config.in_channels, side, side];
  }

  /** Fresh noise, (1, 4, h, w), a function of the labels alone. */
  noise(...labels: (string | number)[]): Tensor {
    return this.job.random.at(...labels).normal(this.latentShape, { device: this.job.base.device });
  }

  /** A place for latents, (1, 4, h, w). */
  zeros(): Tensor {
    return Tensor.zeros(this.latentShape, { device: this.job.base.device });
  }

  /**
   * The latents after `to` steps, from those after `from`; a larger stride takes fewer, longer steps.
   * @param options.known predictions for the first of the steps, where there are any already
   * @param options.trajectory its number, where texts are not the same for all. Default 0
   * @param options.signal stops it between steps; not to be given within an update, which is to be whole
   * @throws ABORTED
   */
  async move(
    latents: Tensor,
    text: number,
    from: number,
    to: number,
    stride = 1,
    { known, signal, trajectory = 0 }: MoveOptions = {},
  ): Promise<Tensor> {
    if (from >= to) return latents.detach().clone();
    return scope(async () => {
      const condition = await this.texts.of(text, trajectory);
      let z = latents;
      for (let at = from; at < to; at = Math.min(at + stride, to)) {
        throwIfAborted(signal);
        z = await this.step(z, condition, at, Math.min(at + stride, to), at === from ? known : undefined);
      }
      return z.detach().clone();
    });
  }

  private async step(
    z: Tensor,
    text: Condition,
    from: number,
    to: number,
    known: KnownPredictions | undefined,
  ): Promise<Tensor> {
    const { schedule } = this.job.base;
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
    text: Condition,
    known: KnownPredictions = {},
  ): Promise<Tensor> {
    const { empty, network } = this;
    const { startGuidance: scale } = this.options;
    const batch = { latents: z, timesteps: [timestep] };
    const one = (condition: Condition): Promise<Tensor> => predictNoise(network, batch, condition);
    if (scale === 1) return known.conditional ?? one(text);
    if (known.unconditional !== undefined || known.conditional !== undefined)
      return combine(
        known.unconditional ?? (await one(empty)),
        known.conditional ?? (await one(text)),
        scale,
      );
    const [unconditional, conditional] = await evaluateEach(network, batch, [empty, text] as const);
    return combine(unconditional, conditional, scale);
  }

  /** The timestep of the noise level after that many steps; behind the last step it is timestep 0's. */
  private level(executed: number): number {
    return this.trajectory.steps[executed]?.timestep ?? 0;
  }
}
