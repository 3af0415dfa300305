import { Tensor } from "../../runtime/tensor";
import { noGrad } from "../../runtime/grad-mode";
import type { ErasureRun } from "../parts";
import type { LatentBatch, LatentSource } from "./latent-source";
import type { TrajectorySampler } from "./trajectory-sampler";

/** The reference procedure: every item of every iteration is a new trajectory, run from noise to its t. */
export class RestartSource implements LatentSource {
  constructor(
    private readonly job: ErasureRun,
    private readonly sampler: TrajectorySampler,
    private readonly batchSize: number,
    private readonly textCount: number,
  ) {}

  async next(iteration: number): Promise<LatentBatch> {
    const { random, signal } = this.job;
    const { stops } = this.sampler.trajectory;
    const latents: Tensor[] = [];
    const noises: Tensor[] = [];
    const timesteps: number[] = [];
    const levels: number[] = [];
    const texts: number[] = [];
    const trajectories: number[] = [];
    for (let item = 0; item < this.batchSize; item++) {
      const draw = random.at("restart", iteration, item);
      const { executed, timestep, level } = stops[draw.at("stop").below(stops.length)]!;
      const text = draw.at("text").below(this.textCount);
      const noise = this.sampler.noise("restart", iteration, item, "noise");
      const trajectory = iteration * this.batchSize + item;
      const run = { signal, trajectory };
      latents.push(await noGrad(() => this.sampler.move(noise, text, 0, executed, 1, run)));
      noises.push(noise);
      timesteps.push(timestep.from + draw.at("timestep").below(timestep.to - timestep.from + 1));
      levels.push(level);
      texts.push(text);
      trajectories.push(trajectory);
    }
    const noise = Tensor.cat(noises);
    return { latents: Tensor.cat(latents), noise, timesteps, levels, texts, trajectories };
  }

  async advance(): Promise<void> {}
}
