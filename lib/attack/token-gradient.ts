import { encodePrompts } from "../diffusion/conditioning";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import type { Tensor } from "../runtime/tensor";
import { scope } from "../runtime/scope";

/** The encoder's table of token embeddings, (V, d). */
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
export function embeddingsOf({ textEncoder }: StableDiffusion, ids: Tensor): Tensor {
  return textEncoder.parameter(TABLE).indexSelect(0, ids).to("float32");
}

/**
 * The denoising loss of a prompt, ‖n − ε(z_t, t, c)‖² as a mean over elements, and its gradient with respect to the
 * one-hot rows that select the searched tokens from the embedding table E: ∂loss/∂(rows·E) · Eᵀ.
 * @returns loss a scalar; gradient (k, V) float32
 */
export function tokenGradient(
  model: StableDiffusion,
  { prompt, token, ids }: SearchedPrompt,
  { latents, noise, timestep }: NoisySample,
): Promise<{ loss: Tensor; gradient: Tensor }> {
  const { tokenizer, textEncoder, device } = model;
  return scope(async () => {
    const embeddings = await embeddingsOf(model, ids).requireGrad();
    const context = await encodePrompts(tokenizer, textEncoder, [prompt], device, {
      tokens: [{ token, embeddings }],
      grad: true,
    });
    const batch = { latents, timesteps: timestep };
    const loss = (await model.predict(batch, { context }, { grad: true })).mse(noise);
    await loss.backward([embeddings]);
    const table = textEncoder.parameter(TABLE);
    const gradient = embeddings.grad!.to(table.dtype).matmul(table.transpose(0, 1)).to("float32");
    return { loss: await loss.detach().settled(), gradient: await gradient.settled() };
  });
}
