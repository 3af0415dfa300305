import { sldGuidance, SLD_PRESETS } from "../../../../lib/diffusion/interventions/sld";
import { sld } from "../../../../lib/erasure/methods/sld";
import { parseOptions } from "../../../../lib/erasure/method";
import { Tensor } from "../../../../lib/runtime/tensor";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const parsed = (given: object) =>
  parseOptions(sld, given as Record<string, unknown>, { concepts: ["church", "dog"] });

describe("SLD", () => {
  it("takes a text with a place for the concepts", () => {
    expect(parsed({ template: "an image showing {}" })).toMatchObject({ template: "an image showing {}" });
  });

  it.each([["a church"], [""], [5]])("refuses %j as a template, which has none", (template) => {
    expect(() => parsed({ template })).toThrow(
      /Expected a template to be a text with "\{\}" in it but received/,
    );
  });

  it.each(Object.entries(SLD_PRESETS))(
    "%s leads nothing away from a prompt that is the concept's own text: ε_p = ε_S gives μ = 0",
    async (_, preset) => {
      const run = sldGuidance({ ...preset, warmup: 0, concept: "church" }).start();
      const [own, none] = [
        Tensor.from([0.5, -2, 0.1], [1, 3, 1, 1]),
        Tensor.from([0.25, 1, -3], [1, 3, 1, 1]),
      ];
      // Another prompt at the first element alone: 0.5 below the concept's.
      const other = Tensor.from([0, -2, 0.1], [1, 3, 1, 1]);
      const at = { unconditional: none, others: [own], step: 0 };
      expect(await numbers(run.steer({ ...at, conditional: own }))).toEqual(await numbers(own));
      // With no momentum from the step before, μ = 1 takes ε_S - ε_0 = 0.25 off where the prompts differ.
      const [first, ...rest] = await numbers(run.steer({ ...at, step: 1, conditional: other }));
      expect(first).toBeCloseTo(-0.25, 6);
      expect(rest).toEqual((await numbers(other)).slice(1));
    },
  );
});
