import { repeated, type Condition } from "../../../lib/diffusion/condition";
import { evaluateEach } from "../../../lib/diffusion/predict";
import { amortisedPrompt, applyPrompt, type PromptKind } from "../../../lib/diffusion/prompt-form";
import { noGrad } from "../../../lib/runtime/grad-mode";
import { Random } from "../../../lib/runtime/random";
import { requireGradients, Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";

/** Of the golden text encoder and the UNet's context. */
const WIDTH = 32;
const HIDDEN = 5;

const kind = (fields: Partial<PromptKind> = {}): PromptKind => ({
  form: "free",
  place: "cross-attention",
  mechanism: "concat",
  layers: "all",
  ...fields,
});
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

describe("a learned prompt", () => {
  let golden: GoldenModel;
  const condition = (...texts: string[]): Promise<Condition> => noGrad(() => golden.model.condition(texts));
  const draw = (seed: number, ...shape: number[]): Tensor => new Random(seed).normal(shape).mul(0.3);
  const batch = { latents: new Random(4).normal([2, 4, 16, 16]), timesteps: [801, 201] };

  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  it("of the amortised form is relu(c Aᵀ) B on each row of a text, written out", async () => {
    const weights = draw(1, 2 * HIDDEN, WIDTH);
    const { context } = await condition("church", "a dog");
    const [w, c] = [await numbers(weights), await numbers(context)];
    const expected = Array.from({ length: c.length }, (_, place) => {
      const [row, column] = [Math.floor(place / WIDTH), place % WIDTH];
      let sum = 0;
      for (let unit = 0; unit < HIDDEN; unit++) {
        let down = 0;
        for (let i = 0; i < WIDTH; i++) down += c[row * WIDTH + i]! * w[unit * WIDTH + i]!;
        sum += Math.max(0, down) * w[(HIDDEN + unit) * WIDTH + column]!;
      }
      return sum;
    });
    const prompt = amortisedPrompt(weights, context);
    expect(await relativeError(prompt, Tensor.from(expected, context.shape))).toBeLessThan(1e-5);
    expect(amortisedPrompt(weights, context.to("bfloat16")).dtype).toBe("bfloat16");
  });

  it.each(["concat", "additive"] as const)(
    "of the amortised form gives each text of each condition its own, as one by one (%s)",
    async (mechanism) => {
      const weights = draw(1, 2 * HIDDEN, WIDTH);
      const conditions = [await condition("church", "a dog"), await condition("", "a church tower")];
      const prompted = await applyPrompt(
        golden.model,
        weights,
        kind({ form: "amortised", mechanism }),
        conditions,
      );
      const each = await evaluateEach(golden.model, batch, prompted.conditions, prompted);
      for (const [index, actual] of each.entries())
        for (const item of [0, 1]) {
          const context = conditions[index]!.context.slice(0, item, item + 1);
          const prompt = amortisedPrompt(weights, context);
          const expected = await golden.model.unet.forward(
            batch.latents.slice(0, item, item + 1),
            batch.timesteps[item]!,
            context,
            { prompt, mechanism, layers: "all" },
          );
          expect(await relativeError(actual.slice(0, item, item + 1), expected)).toBeLessThan(2e-5);
        }
    },
  );

  describe("as words before the text encoder", () => {
    const words = draw(2, 3, WIDTH);
    const worded = async (prompt: Tensor, ...texts: string[]): Promise<Tensor> => {
      const { conditions, injection } = await applyPrompt(golden.model, prompt, kind({ place: "token" }), [
        await condition(...texts),
      ]);
      expect(injection).toBeUndefined();
      expect(conditions[0].texts).toEqual(texts);
      return conditions[0].context;
    };
    const spelled = (embeddings: Tensor, ...texts: string[]): Promise<Tensor> =>
      golden.model.encode(
        texts.map((text) => `${text}<w>`),
        { tokens: [{ token: "<w>", embeddings }] },
      );

    it("stands behind the text's last token and before its end", async () => {
      const texts = ["church", "", "a photo of a dog"];
      expect(await relativeError(await worded(words, ...texts), await spelled(words, ...texts))).toBe(0);
    });

    it("gives each text its own where there are some for each", async () => {
      const both = Tensor.stack([words, draw(3, 3, WIDTH)]);
      const actual = await worded(both, "church", "a dog");
      for (const [item, text] of ["church", "a dog"].entries()) {
        const own = both.slice(0, item, item + 1).squeeze(0);
        expect(await relativeError(actual.slice(0, item, item + 1), await spelled(own, text))).toBeLessThan(
          1e-5,
        );
      }
    });

    it("cuts a text that leaves no room, never the words", async () => {
      // 77 places hold a start, 72 tokens, three words and an end.
      const [long, fitting] = ["x ".repeat(200), "x ".repeat(72)];
      expect(await relativeError(await worded(words, long), await spelled(words, fitting))).toBe(0);
    });

    it("keeps learned tokens that a text names", async () => {
      const tokens = [{ token: "<t>", embeddings: draw(6, 2, WIDTH) }];
      const plain = await golden.model.condition(["a <t>"], { tokens });
      const { conditions } = await applyPrompt(
        golden.model,
        words,
        kind({ place: "token" }),
        [plain],
        tokens,
      );
      const expected = await golden.model.encode("a <t><w>", {
        tokens: [...tokens, { token: "<w>", embeddings: words }],
      });
      expect(await relativeError(conditions[0].context, expected)).toBe(0);
    });

    it.each([
      ["another width", [3, 31]],
      ["no rows", [0, WIDTH]],
      ["more rows than a text with one token has room for", [75, WIDTH]],
      ["rows for another number of texts", [2, 3, WIDTH]],
    ])("refuses %s", async (_, shape) => {
      await expect(worded(Tensor.zeros(shape), "church")).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/learned words to be of shape \(k, 32\).*k from 1 to 74/) as string,
      });
    });
  });

  // A difference quotient in float32 has some 1e-3 of rounding left, and the kinks of relu add to it.
  it.each<[string, Partial<PromptKind>, number[]]>([
    ["an amortised concatenative one", { form: "amortised" }, [2 * HIDDEN, WIDTH]],
    ["an amortised additive one", { form: "amortised", mechanism: "additive" }, [2 * HIDDEN, WIDTH]],
    ["a free one", {}, [4, WIDTH]],
    ["words before the text encoder", { place: "token" }, [3, WIDTH]],
    ["words of each text", { place: "token" }, [2, 3, WIDTH]],
  ])("has the gradient of its difference quotient, within 2 %%: %s", async (_, fields, shape) => {
    const plain = await condition("church", "a dog");
    const start = draw(7, ...shape);
    const target = new Random(8).normal(batch.latents.shape);
    const loss = async (prompt: Tensor, grad: boolean): Promise<Tensor> => {
      const { conditions, injection } = await applyPrompt(golden.model, prompt, kind(fields), [plain]);
      const options = { grad, ...(injection && { injection }) };
      return (await golden.model.predict(batch, conditions[0], options)).mse(target);
    };
    const prompt = start.clone();
    await requireGradients([prompt], true);
    await (await loss(prompt, true)).backward();
    const gradient = prompt.grad!;
    const length = Math.sqrt(await gradient.square().sum().item());
    const along = gradient.div(length);
    const step = 0.05;
    const at = (by: number) => noGrad(async () => (await loss(start.add(along.mul(by)), false)).item());
    const quotient = ((await at(step)) - (await at(-step))) / (2 * step);
    expect(length).toBeGreaterThan(1e-4);
    expect(Math.abs(quotient / length - 1)).toBeLessThan(0.02);
  });

  it("leaves no gradient at what the texts are encoded with", async () => {
    const words = draw(2, 3, WIDTH);
    await requireGradients([words], true);
    const plain = repeated(await condition("church"), 2);
    const { conditions } = await applyPrompt(golden.model, words, kind({ place: "token" }), [plain]);
    await conditions[0].context.mean().backward();
    expect(words.grad).not.toBeNull();
    for (const name of golden.model.textEncoder.parameterNames())
      expect(golden.model.textEncoder.parameter(name).grad).toBeNull();
  });
});
