import { encodePrompts } from "../../lib/diffusion/conditioning";
import type { PromptForm, PromptPlace } from "../../lib/diffusion/prompt-form";
import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import type { PromptLayers, PromptMechanism } from "../../lib/models/unet";
import { Adam } from "../../lib/nn/optimizer";
import { noGrad } from "../../lib/runtime/grad-mode";
import { requireGradients, Tensor } from "../../lib/runtime/tensor";

/** What one iteration works on; texts and preserved prompts one for each item of the batch. */
export interface ReferenceBatch {
  latents: Tensor;
  timesteps: number[];
  texts: string[];
  preserved?: string[];
  /** Which of `prompts` each item takes. Default the first. */
  prompts?: number[];
}

export interface ReferenceSetting {
  neutral: string;
  /** (k, d) each; one of (2h, d) of the amortised form; one of words of the place "token". */
  prompts: Tensor[];
  form?: PromptForm;
  place?: PromptPlace;
  mechanism: PromptMechanism;
  layers: PromptLayers;
  negativeGuidance?: boolean;
  trained: (name: string) => boolean;
  preserveWeight?: number;
  lambda: (iteration: number) => number;
  learningRate: (iteration: number) => number;
  promptLearningRate: (iteration: number) => number;
}

/**
 * KPOP written down as its equations stand, one forward at a time and one backward for the sum of the removal losses:
 * what the method's own arrangement is compared with.
 * @returns the losses of each iteration
 */
export async function referenceKpop(
  model: StableDiffusion,
  batches: readonly ReferenceBatch[],
  setting: ReferenceSetting,
): Promise<Record<string, number>[]> {
  const names = model.unet.parameterNames().filter(setting.trained);
  const student = await model.derive(new Set(names), "float32");
  const weights = names.map((name) => student.unet.parameter(name));
  const prompts = setting.prompts.map((prompt) => prompt.clone());
  const promptAdam = await Adam.create(prompts);
  const adam = await Adam.create(weights);
  const { mechanism, layers } = setting;
  const history: Record<string, number>[] = [];

  for (const [i, batch] of batches.entries()) {
    const { latents, timesteps, texts } = batch;
    const encode = (list: string[]): Promise<Tensor> => noGrad(() => model.encode(list));
    const c = await encode(texts);
    const teacher = (context: Tensor): Promise<Tensor> => model.unet.forward(latents, timesteps, context);
    const original = await teacher(c);
    const other = await teacher(
      await encode(texts.map(() => (setting.negativeGuidance ? "" : setting.neutral))),
    );
    const target = setting.negativeGuidance ? other.mul(2).sub(original) : other;
    const injected = async (): Promise<Tensor> => {
      if (setting.place === "token") {
        const { context } = await encodePrompts(
          model,
          texts.map((text) => `${text}<learned>`),
          { tokens: [{ token: "<learned>", embeddings: prompts[0]! }], grad: true },
        );
        return student.unet.forward(latents, timesteps, context, { grad: true });
      }
      const prompt =
        setting.form === "amortised"
          ? amortised(prompts[0]!, c)
          : Tensor.stack(texts.map((_, item) => prompts[batch.prompts?.[item] ?? 0]!));
      return student.unet.forward(latents, timesteps, c, { prompt, mechanism, layers, grad: true });
    };

    await requireGradients(prompts, true);
    const transfer = (await injected()).mse(original);
    await transfer.backward();
    await promptAdam.step(setting.promptLearningRate(i));
    await requireGradients(prompts, false);

    await requireGradients(weights, true);
    const erase = (await student.unet.forward(latents, timesteps, c, { grad: true })).mse(target);
    const recover = (await injected()).mse(original);
    let total = erase.add(recover.mul(setting.lambda(i)));
    const losses: Record<string, Tensor> = { transfer, erase, recover };
    if (batch.preserved !== undefined) {
      const retained = await encode(batch.preserved);
      const now = await student.unet.forward(latents, timesteps, retained, { grad: true });
      losses["preserve"] = now.mse(await teacher(retained));
      total = total.add(losses["preserve"].mul(setting.preserveWeight ?? 1));
    }
    await total.backward();
    await adam.step(setting.learningRate(i));
    await requireGradients(weights, false);

    const values = await Promise.all(Object.values(losses).map((loss) => loss.detach().item()));
    history.push(Object.fromEntries(Object.keys(losses).map((name, index) => [name, values[index]!])));
  }
  student.dispose();
  return history;
}

/** relu(c Aᵀ) B, unit by unit. */
function amortised(prompt: Tensor, context: Tensor): Tensor {
  const units = prompt.shape[0]! / 2;
  const row = (index: number): Tensor => prompt.slice(0, index, index + 1); // (1, d)
  const terms = Array.from({ length: units }, (_, unit) => {
    const activation = context.mul(row(unit)).sum([2], true); // (B, L, 1)
    return activation.clamp(0, Infinity).mul(row(units + unit));
  });
  return terms.reduce((sum, term) => sum.add(term));
}
