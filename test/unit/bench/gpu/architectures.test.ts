import { ARCHITECTURES, type Family } from "../../../../bench/gpu/architectures";
import { AutoencoderKL, CLIPTextModel, UNet2DConditionModel } from "../../../../lib/index";

/** Numbers of the published checkpoints, as transformers and diffusers count them. */
const PUBLISHED: Record<Family, Record<string, number>> = {
  "1.4": { unet: 859_520_964, vae: 83_653_863, text_encoder: 123_060_480 },
  "2.1": { unet: 865_910_724, vae: 83_653_863, text_encoder: 340_387_840 },
  xl: { unet: 2_567_463_684, vae: 83_653_863, text_encoder: 123_060_480, text_encoder_2: 694_659_840 },
};

describe("the architectures that speed is measured on", () => {
  it.each(Object.keys(PUBLISHED) as Family[])("have the published numbers of weights: %s", (family) => {
    const { unet, vae, texts } = ARCHITECTURES[family];
    const counts = Object.entries({ unet, vae, ...texts }).map(([name, config]) => {
      const Network = { unet: UNet2DConditionModel, vae: AutoencoderKL }[name] ?? CLIPTextModel;
      using network = new Network(config);
      const sizes = Object.values(network.parameterShapes()).map((shape) =>
        shape.reduce((product, size) => product * size, 1),
      );
      return [name, sizes.reduce((sum, size) => sum + size, 0)];
    });
    expect(Object.fromEntries(counts)).toEqual(PUBLISHED[family]);
  });
});
