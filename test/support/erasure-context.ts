import { NoiseSchedule } from "../../lib/diffusion/noise-schedule";
import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import type { ErasureContext } from "../../lib/erasure/method";
import { RunState } from "../../lib/training/run-state";
import { EvaluationCounter } from "../../lib/training/evaluations";
import type { CLIPTextModel } from "../../lib/models/clip-text";
import type { UNet2DConditionModel } from "../../lib/models/unet";
import { Random } from "../../lib/runtime/random";
import type { Tensor } from "../../lib/runtime/tensor";

/**
 * What a method works with, without networks: latents are (B, 1, 1, 1), and a text is one number g (its embedding,
 * (1, 1, 1)) for which the "network" predicts ε(z, t, g) = g z. Evaluations are counted as in a real run.
 */
export function stubContext(fields: Partial<ErasureContext> = {}): ErasureContext {
  const evaluations = new EvaluationCounter();
  const network = {} as UNet2DConditionModel;
  return {
    base: {
      schedule: new NoiseSchedule(),
      imageSize: 8,
      device: "cpu",
      dtype: "float32",
      vae: { downsampling: 8 },
      unet: { config: { in_channels: 1 } },
    } as unknown as StableDiffusion,
    teacher: network,
    student: network,
    textEncoder: {} as CLIPTextModel,
    trained: [],
    concepts: ["church"],
    preserve: [],
    random: new Random(0),
    signal: undefined,
    onPrepare: undefined,
    store: new Map(),
    taskVectors: [],
    evaluations,
    predict: async (_network, latents, timesteps, context): Promise<Tensor> => {
      evaluations.add(timesteps.length);
      return latents.mul(context.unsqueeze(-1));
    },
    encode: () => Promise.reject(new Error("this context has no text encoder")),
    runState: new RunState(undefined, false, ""),
    ...fields,
  };
}
