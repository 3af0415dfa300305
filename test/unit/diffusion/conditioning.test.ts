import { encodePrompts } from "../../../lib/diffusion/conditioning";
import type { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";

describe("encodePrompts", () => {
  let golden: GoldenModel;
  const encode = async (prompts: string[]): Promise<Tensor> =>
    (await encodePrompts(golden.model, prompts)).context;

  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  it("gives a row of L states for each prompt, the same alone and among others", async () => {
    const rows = await encode(["church", "", "a photo of a dog"]);
    expect(rows.shape).toEqual([3, 77, 32]);
    const alone = await encode(["a photo of a dog"]);
    expect(await relativeError(rows.slice(0, 2), alone)).toBeLessThan(1e-5);
  });

  it("cuts a prompt that is longer than L", async () => {
    const long = "church ".repeat(200);
    expect((await encode([long])).shape).toEqual([1, 77, 32]);
    expect(await relativeError(await encode([long]), await encode([`${long} and a dog`]))).toBe(0);
  });

  it("leaves out the states behind those that are asked for, but for those of texts that are longer", async () => {
    const prompts = ["church", "a photo of a dog"];
    const whole = await encode(prompts);
    for (const [length, states] of [
      [2, 7], // as far as the longer one's end
      [9, 9],
      [99, 77],
    ] as const) {
      const { context } = await encodePrompts(golden.model, prompts, { length });
      expect(context.shape).toEqual([2, states, 32]);
      expect(await relativeError(whole.slice(1, 0, states).contiguous(), context)).toBeLessThan(1e-5);
    }
  });

  it("refuses an empty list, and prompts that are no texts", async () => {
    const refused = { name: "KpopError", code: "INVALID_ARGUMENT" };
    await expect(encode([])).rejects.toMatchObject(refused);
    await expect(encode([5 as unknown as string])).rejects.toMatchObject(refused);
    await expect(golden.model.encode(undefined as unknown as string)).rejects.toMatchObject(refused);
  });
});
