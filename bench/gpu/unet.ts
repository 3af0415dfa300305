/** The UNet alone by batch: where a larger one takes no longer, launching kernels is all that takes time. */
import { predictNoise, Random, scope, StableDiffusion } from "../../lib/index";
import { time } from "../speed/case";
import type { Assignment, UNetTiming } from "./assignment";

/** What both sides measure. */
export const MEASURED = { batches: [1, 2, 4, 8], repeats: 15 } as const;

export async function timeUNet({
  model: path,
  device,
  dtype,
}: Extract<Assignment, { step: "unet" }>): Promise<UNetTiming> {
  using model = await StableDiffusion.load(path, { device, dtype });
  const { unet } = model;
  const side = model.imageSize / model.vae.downsampling;
  const text = await model.encode("a photo of a church"); // (1, L, d)
  const trained = unet.parameterNames().filter((name) => name.includes("attn2"));
  for (const name of trained) await unet.parameter(name).requireGrad();
  const timing: UNetTiming = { forward: {}, training: {} };
  for (const batch of MEASURED.batches) {
    const latents = new Random(batch).normal([batch, 4, side, side], { dtype }).to({ device });
    const condition = { context: text.expand([batch, text.shape[1]!, text.shape[2]!]) };
    const predict = (grad: boolean) =>
      predictNoise({ unet, dtype }, { latents, timesteps: 500 }, condition, { grad });
    // Reading a value waits for the device.
    timing.forward[batch] = await time(
      () => scope(async () => void (await (await predict(false)).mean().item())),
      MEASURED.repeats,
    );
    const step = () =>
      scope(async () => {
        const loss = (await predict(true)).square().mean();
        await loss.backward();
        await loss.item();
        await unet.parameter(trained[0]!).grad!.mean().item();
        for (const name of trained) await unet.parameter(name).zeroGrad();
      });
    timing.training[batch] = await time(step, MEASURED.repeats);
  }
  return timing;
}
