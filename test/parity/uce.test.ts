import { uce } from "../../lib/erasure/methods/uce";
import type { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { stubContext } from "../support/erasure-context";
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
    const context = stubContext({
      base: model,
      teacher: model.unet,
      student: student.unet,
      trained,
      concepts: ["church"],
      preserve,
      // The fixture gives the states to preserve as numbers, without texts.
      encode: async (prompts): Promise<Tensor> =>
        prompts.join() === preserve.join() ? expected("uce.preserve").clone() : model.encode(prompts),
    });
    const options = uce.parse(
      {
        guide: "a photo",
        alignment: "all",
        preserveScale: 0.1,
        lambda: 0.1,
        parameters: (key: string) => trained.includes(key),
      },
      model,
      context.concepts,
    );

    const reports = [];
    for await (const report of uce.run(context, options)) reports.push(report);

    expect(reports).toHaveLength(2);
    for (const key of trained) {
      const weight = student.unet.parameter(key);
      expect(await relativeError(weight, expected(`${PREFIX}${key}`))).toBeLessThan(2e-5);
      expect(await relativeError(model.unet.parameter(key), weight)).toBeGreaterThan(0.1);
    }
    student.dispose();
  });
});
