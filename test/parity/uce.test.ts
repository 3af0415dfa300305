import { uce } from "../../lib/erasure/methods/uce";
import { complete } from "../../lib/options/option";
import { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { stubJob } from "../support/erasure-job";
import { loadGolden, type GoldenModel } from "../support/golden-model";

const PREFIX = "uce.";

describe.each(["small", "wide"] as const)("UCE on golden checkpoint %s", (name) => {
  let reference: GoldenModel;
  beforeAll(async () => {
    reference = await loadGolden(name);
  });
  afterAll(() => reference.dispose());

  it("edits the reference's projections to its weights", async () => {
    const { model, expected, keys } = reference;
    const trained = keys(PREFIX)
      .filter((key) => key.endsWith(".weight"))
      .map((key) => key.slice(PREFIX.length));
    expect(trained).toHaveLength(2);
    const preserve = ["0", "1", "2"];
    const student = await model.derive(new Set(trained), "float32");
    const job = stubJob({ base: model, student, trained, preserve });
    // The fixture gives the states to preserve as numbers, without texts.
    const held = expected("uce.preserve");
    job.encode = async (prompts) => {
      const states: Tensor[] = [];
      for (const prompt of prompts) {
        const place = preserve.indexOf(prompt);
        states.push(place < 0 ? await model.encode(prompt) : held.slice(0, place, place + 1));
      }
      return { context: Tensor.cat(states) };
    };
    const options = complete(
      uce.options,
      {
        guide: "a photo",
        alignment: "all",
        preserveScale: 0.1,
        lambda: 0.1,
        parameters: (key: string) => trained.includes(key),
      },
      job,
    );

    await job.run(() => uce.run(job, options));

    expect(job.history).toHaveLength(2);
    for (const key of trained) {
      const weight = student.unet.parameter(key);
      expect(await relativeError(weight, expected(`${PREFIX}${key}`))).toBeLessThan(2e-5);
      expect(await relativeError(model.unet.parameter(key), weight)).toBeGreaterThan(0.1);
    }
    student.dispose();
  });
});
