import { esd } from "../../lib/erasure/methods/esd";
import type { ErasureContext } from "../../lib/erasure/method";
import { Tensor } from "../../lib/runtime/tensor";
import { stubContext } from "../support/erasure-context";
import { goldenKpop, goldenLatents } from "../support/golden-kpop";
import { loadGolden, type GoldenModel } from "../support/golden-model";

describe.each(["small", "wide"] as const)("ESD on golden checkpoint %s", (name) => {
  let reference: GoldenModel;
  beforeAll(async () => {
    reference = await loadGolden(name);
  });
  afterAll(() => reference.dispose());

  it("has the reference's loss, of a student that is no longer the teacher", async () => {
    const { model, expected } = reference;
    // The reference takes it after KPOP's iterations, on their first latents, with "a photo" in the place of "".
    const erasure = await goldenKpop(reference);
    const texts = expected("text.last_hidden_state"); // (3, 77, d): "church", "a photo", ...
    const places = ["church", ""];
    const context: ErasureContext = {
      ...stubContext(),
      base: model,
      teacher: model.unet,
      student: erasure.model.unet,
      trained: model.unet.parameterNames().filter((key) => key.includes("attn2")),
      predict: (unet, ...rest) => unet.forward(...rest),
      encode: async (prompts) =>
        Tensor.cat(prompts.map((prompt) => places.indexOf(prompt)).map((at) => texts.slice(0, at, at + 1))),
    };
    const given = { iterations: 1, latents: goldenLatents(reference) };
    const losses: Record<string, number>[] = [];
    for await (const report of esd.run(context, esd.parse(given, model, ["church"])))
      losses.push(report.losses);
    expect(Object.keys(losses[0]!)).toEqual(["erase"]);
    expect(losses[0]!["erase"]! / (await expected("esd.loss").item())).toBeCloseTo(1, 3);
    erasure.dispose();
  });
});
