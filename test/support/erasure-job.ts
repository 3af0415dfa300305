import type { Condition } from "../../lib/diffusion/condition";
import { NoiseSchedule } from "../../lib/diffusion/noise-schedule";
import {
  predictNoise,
  type Denoiser,
  type NoisyBatch,
  type PredictOptions,
} from "../../lib/diffusion/predict";
import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { ErasureJob } from "../../lib/erasure/job";
import type { ErasureParts } from "../../lib/erasure/parts";
import type { UNet2DConditionModel } from "../../lib/models/unet";
import { Tensor } from "../../lib/runtime/tensor";
import type { JobSettings } from "../../lib/training/job";

/** What a network of a test gives for (B, 1, 1, 1) latents and texts that are one number each, (B, 1, 1). */
type Forward = (latents: Tensor, timesteps: number | readonly number[], context: Tensor) => Promise<Tensor>;

/** Latents as often as it takes to have one for each text, as the network has them behind its first cross-attention. */
export function forEachText(latents: Tensor, context: Tensor): Tensor {
  return Tensor.cat(Array<Tensor>(context.shape[0]! / latents.shape[0]!).fill(latents));
}

/** ε(z, t, g) = g z. */
const linear: Forward = async (latents, _timesteps, context) => latents.mul(context.unsqueeze(-1));

/** A model of which there is a UNet that computes `forward`, latents of one number, and nothing else. */
export function stubModel(forward: Forward = linear): StableDiffusion {
  const model: Denoiser & Record<string, unknown> = {
    schedule: new NoiseSchedule(),
    imageSize: 8,
    device: "cpu",
    dtype: "float32",
    vae: { downsampling: 8 },
    unet: {
      config: { in_channels: 1 },
      forward: ((latents, timesteps, context) =>
        forward(forEachText(latents, context), timesteps, context)) satisfies Forward,
    } as unknown as UNet2DConditionModel,
    predict: (batch: NoisyBatch, condition: Condition, options?: PredictOptions) =>
      predictNoise(model, batch, condition, options),
    condition: () => Promise.reject(new Error("this model has no text encoder")),
  };
  return model as unknown as StableDiffusion;
}

/** Texts that are one number each, as a condition. */
export function numbersAsTexts(numbers: readonly number[]): Condition {
  return { context: Tensor.from([...numbers], [numbers.length, 1, 1]) };
}

/** What a test may say of a job. */
export type StubFields = Partial<ErasureParts> & Partial<Omit<JobSettings, "device">>;

/** A job over networks of a test, without a state of its own. Evaluations count in what `job.evaluations.run` runs. */
export function stubJob(fields: StubFields = {}): ErasureJob {
  const {
    base = stubModel(),
    teacher = base,
    student = base,
    network = "unet",
    trained = [],
    lora = null,
    concepts = ["church"],
    preserve = [],
    neighbours = [],
    adversarial = false,
    ...settings
  } = fields;
  return new ErasureJob(
    { base, teacher, student, network, trained, lora, concepts, preserve, neighbours, adversarial },
    {
      seed: 0,
      signal: undefined,
      onStep: undefined,
      onPrepare: undefined,
      checkpoint: undefined,
      resume: false,
      identity: () => Promise.resolve("none"),
      ...settings,
    },
  );
}
