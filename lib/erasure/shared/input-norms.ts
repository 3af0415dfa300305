import { repeated } from "../../diffusion/condition";
import { denoise } from "../../diffusion/denoise";
import { networkOf } from "../../diffusion/predict";
import type { Intervention } from "../../diffusion/interventions/intervention";
import { sampler } from "../../diffusion/samplers";
import type { Tap } from "../../models/unet";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";

/** Trajectories that layers are watched on. */
export interface WatchOptions {
  readonly samplingSteps: number;
  /** How many of the first steps are taken; the rest would not be looked at. */
  readonly watchedSteps: number;
  readonly guidanceScale: number;
  /** Starting noises, which every prompt has a trajectory from. */
  readonly noises: number;
  /** Trajectories that are denoised together. */
  readonly batchSize: number;
}

/** For each step, for each layer, one number for each of its inputs. */
export type StepNorms = readonly (readonly Float64Array[])[];

/**
 * How strongly the inputs of linear layers are used while a model draws: of each input at each step the root of the mean,
 * over prompts, of Σ x², where x runs over the token rows of both halves of guidance, each scaled to length 1 (the norms of
 * Wanda, Sun et al. 2023, arXiv 2306.11695, as arXiv 2405.19237 takes them). Being means, they compare between sets of prompts.
 */
export class InputNorms {
  private done = 0;
  private readonly started = performance.now();

  /**
   * @param modules whose outputs are the layers' inputs, (B, N, d)
   * @param prompts in all sets together, of which `onPrepare` is told
   */
  constructor(
    private readonly job: ErasureJob,
    private readonly modules: readonly string[],
    private readonly prompts: number,
    private readonly options: WatchOptions,
  ) {}

  /** The norms for some prompts. @throws ABORTED */
  async of(prompts: readonly string[]): Promise<StepNorms> {
    const { noises, batchSize, watchedSteps } = this.options;
    const items = Array.from({ length: noises }, (_, noise) =>
      prompts.map((prompt) => ({ prompt, noise })),
    ).flat();
    const sums = Array.from({ length: watchedSteps }, () => new Map<string, Tensor>());
    try {
      await this.job.each(Math.ceil(items.length / batchSize), async (index) => {
        const batch = items.slice(index * batchSize, (index + 1) * batchSize);
        await this.watch(batch, sums);
        this.done += batch.length;
        await this.job.prepared("trajectory", this.done, this.prompts * noises, this.started);
      });
      return await scope(() => {
        const norm = (sum: Tensor): Tensor => sum.div(items.length).sqrt();
        const read = (layers: Map<string, Tensor>): Promise<Float64Array[]> =>
          Promise.all(
            this.modules.map(async (name) => (await norm(layers.get(name)!).data()) as Float64Array),
          );
        return Promise.all(sums.map(read));
      });
    } finally {
      for (const sum of sums.flatMap((layers) => [...layers.values()])) sum.dispose();
    }
  }

  /** Adds what trajectories show to the sums of their steps. */
  private async watch(
    items: readonly { readonly prompt: string; readonly noise: number }[],
    sums: readonly Map<string, Tensor>[],
  ): Promise<void> {
    const { job, options } = this;
    const { base, teacher, random, signal } = job;
    const { watchedSteps, guidanceScale } = options;
    let step = 0;
    const add = (name: string): Tap => {
      return (output) => {
        const before = sums[step]!.get(name);
        const own = (): Tensor => lengthOneSquares(output);
        sums[step]!.set(name, keep(scope(() => (before === undefined ? own() : before.add(own())))));
        before?.dispose();
      };
    };
    const watcher: Intervention = {
      ...{ name: "watcher", version: 1, settings: {}, prompts: [] },
      taps: () => Object.fromEntries(this.modules.map((name) => [name, add(name)])),
    };
    const network = { ...networkOf(teacher), interventions: [watcher] };
    await scope(async () => {
      const side = base.imageSize / base.vae.downsampling;
      const shape = [1, base.unet.config.in_channels, side, side];
      const noise = items.map((item) =>
        random.at("noise", item.noise).normal(shape, { device: base.device }),
      );
      const guidance = {
        text: await job.encode(items.map(({ prompt }) => prompt)),
        negative: guidanceScale === 1 ? null : repeated(await base.unconditional(), items.length),
        guidanceScale,
      };
      const run = sampler(base.defaultSampler).create<Tensor>(base.schedule, options.samplingSteps);
      for await (const state of denoise(network, run, Tensor.cat(noise), guidance, { signal })) {
        step = state.step;
        if (step === watchedSteps) break;
      }
    });
  }
}

/** Of rows (B, N, d), each scaled to length 1, the squares' sum over all rows: (d) float64. */
function lengthOneSquares(rows: Tensor): Tensor {
  const squares = rows.to("float32").square();
  const lengths = squares.sum(-1, true).clamp(1e-24, Infinity);
  return squares.div(lengths).to("float64").sum([0, 1]);
}
