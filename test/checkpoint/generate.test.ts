import { join } from "node:path";
import { decode } from "../../lib/diffusion/generate";
import { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import * as safetensors from "../../lib/io/safetensors";
import type { Tensor } from "../../lib/runtime/tensor";

// Pictures by diffusers 0.40 in float32 from the same noise; guidance 3.
const fixture = join(__dirname, "../fixtures/golden/pocket/expected.safetensors");

describe("StableDiffusion.generate on the built-in model", () => {
  let model: StableDiffusion;
  let expected: Map<string, Tensor>;
  let prompts: string[];

  beforeAll(async () => {
    model = await StableDiffusion.load("pocket");
    expected = await safetensors.load(fixture);
    const file = await safetensors.open(fixture);
    prompts = JSON.parse(file.metadata["prompts"]!) as string[];
    await file.close();
  });
  afterAll(() => model.dispose());

  it.each([
    ["ddim", 12],
    ["ddim", 50],
    ["pndm", 12],
    ["pndm", 50],
  ] as const)("gives diffusers' pictures with %s at %i steps, within 2 of 255", async (sampler, steps) => {
    const images = await model.generate(prompts, {
      latents: expected.get("noise")!,
      sampler,
      steps,
      guidanceScale: 3,
    });
    const reference = (await expected.get(`${sampler}.${steps}.image`)!.data()) as Uint8Array;
    const size = images[0]!.data.length;
    images.forEach((image, index) => {
      let worst = 0;
      for (let i = 0; i < size; i++)
        worst = Math.max(worst, Math.abs(image.data[i]! - reference[index * size + i]!));
      expect(worst).toBeLessThanOrEqual(2);
    });
  });

  it.each(["euler", "euler-ancestral", "heun", "dpmpp-2m", "dpmpp-2m-karras", "lcm"] as const)(
    "gives diffusers' pictures of two seeds with %s at 8 steps, fresh noise included, within 2 of 255",
    async (sampler) => {
      const drawn = await safetensors.load(join(fixture, "..", "samplers.safetensors"));
      const reference = await decode(model, drawn.get(sampler)!);
      const images = await model.generate(prompts[0]!, {
        ...{ sampler, steps: 8, guidanceScale: 3, seed: 5, count: 2 },
      });
      images.forEach(({ data }, index) => {
        const worst = data.reduce(
          (most, byte, i) => Math.max(most, Math.abs(byte - reference[index]!.data[i]!)),
          0,
        );
        expect(worst).toBeLessThanOrEqual(2);
      });
    },
  );
});
