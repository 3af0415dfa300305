import { encodePrompts } from "../diffusion/conditioning";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { splitWidths, textTowers } from "../diffusion/text-encoders";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { lossScale } from "../training/loss-scale";

/** A text encoder's table of token embeddings. */
const TABLE = "text_model.embeddings.token_embedding.weight";

/** A prompt with tokens under search in it. */
export interface SearchedPrompt {
  readonly prompt: string;
  /** What stands for the tokens there. */
  readonly token: string;
  /** Their ids at present, (k) int64. */
  readonly ids: Tensor;
}

/** Latents on their way to noise, (1, 4, h, w). */
export interface NoisySample {
  readonly latents: Tensor;
  readonly noise: Tensor;
  readonly timestep: number;
}

/** Embeddings of token ids. @param ids (k) int64   @returns (k, d) float32, a copy */
export function embeddingsOf(model: StableDiffusion, ids: Tensor): Tensor {
  const each = tablesOf(model).map((table) => table.indexSelect(0, ids));
  return (each.length === 1 ? each[0]! : Tensor.cat(each, 1)).to("float32");
}

/** The tables of a model's text encoders, (V, hidden_size). */
function tablesOf(model: StableDiffusion): Tensor[] {
  return textTowers(model).map(({ encoder }) => encoder.parameter(TABLE));
}

/**
 * The denoising loss of a prompt, ‖n − ε(z_t, t, c)‖² as a mean over elements, and its gradient with respect to the
 * one-hot rows that select the searched tokens from the embedding table E: ∂loss/∂(rows·E) · Eᵀ, the sum over text encoders.
 * @returns loss a scalar; gradient (k, V) float32
 */
export function tokenGradient(
  model: StableDiffusion,
  { prompt, token, ids }: SearchedPrompt,
  { latents, noise, timestep }: NoisySample,
): Promise<{ loss: Tensor; gradient: Tensor }> {
  return scope(async () => {
    const embeddings = await embeddingsOf(model, ids).requireGrad();
    const tokens = [{ token, embeddings }];
    const condition = await encodePrompts(model, [prompt], { tokens, grad: true });
    const batch = { latents, timesteps: timestep };
    const loss = (await model.predict(batch, condition, { grad: true })).mse(noise);
    const scale = lossScale(model.dtype);
    await loss.mul(scale).backward([embeddings]);
    const tables = tablesOf(model);
    const gradient = splitWidths(model, embeddings.grad!)
      .map((own, index) =>
        own.to(tables[index]!.dtype).matmul(tables[index]!.transpose(0, 1)).to("float32").div(scale),
      )
      .reduce((sum, own) => sum.add(own));
    return { loss: await loss.detach().settled(), gradient: await gradient.settled() };
  });
}
