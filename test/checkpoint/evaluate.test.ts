import { evaluate } from "../../lib/evaluation/evaluate";
import { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { temporaryDirectory } from "../support/temporary-directory";

describe("the built-in model, by its own classifier", () => {
  it("draws what it is asked for, and loses it with the weights that read the prompt", async () => {
    using model = await StableDiffusion.load("pocket", { device: "cpu" });
    const run = () =>
      evaluate(model, {
        erased: ["church", "fish"],
        preserved: ["dog", "radio"],
        imagesPerClass: 2,
        steps: 12,
        guidanceScale: 3,
        cacheDirectory: temporaryDirectory(),
      });
    const before = await run();
    expect(before.psr[1]!.value).toBeGreaterThanOrEqual(0.75);
    expect(before.esr[1]!.value).toBeLessThanOrEqual(0.25);
    for (const name of model.unet.parameterNames().filter((key) => /attn2\.to_v\.weight$/.test(key))) {
      const weight = model.unet.parameter(name);
      await weight.copyFrom(weight.mul(0));
    }
    const after = await run();
    expect(after.generated).toBe(8);
    expect(after.esr[1]!.value).toBeGreaterThanOrEqual(0.75);
  });
});
