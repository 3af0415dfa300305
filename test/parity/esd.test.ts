import { esd } from "../../lib/erasure/methods/esd";
import { complete } from "../../lib/options/option";
import { Tensor } from "../../lib/runtime/tensor";
import { stubJob } from "../support/erasure-job";
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
    const job = stubJob({
      base: model,
      student: erasure.model,
      trained: model.unet.parameterNames().filter((key) => key.includes("attn2")),
    });
    job.encode = async (prompts) => {
      const rows = prompts.map((prompt) => places.indexOf(prompt));
      return { context: Tensor.cat(rows.map((at) => texts.slice(0, at, at + 1))) };
    };
    job.unconditional = () => job.encode([""]);
    const given = { iterations: 1, latents: goldenLatents(reference) };
    await job.run(() => esd.run(job, complete(esd.options, given, job)));
    const [{ losses }, ...rest] = job.history as [(typeof job.history)[0]];
    expect([Object.keys(losses), rest]).toEqual([["erase"], []]);
    expect(losses["erase"]! / (await expected("esd.loss").item())).toBeCloseTo(1, 3);
    erasure.dispose();
  });
});
