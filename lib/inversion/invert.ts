import { invalid } from "../check";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { embeddingWidth } from "../diffusion/text-encoders";
import { noGrad } from "../runtime/grad-mode";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { tokenEmbeddings } from "./concept-embedding";
import { Inversion } from "./inversion";
import { text } from "../options/kinds";
import type { Given, Option } from "../options/option";
import type { InversionOptions } from "./inversion-options";
import { learnEmbeddings } from "./learn-embeddings";

const OPTIONS = Object.freeze({
  /**
   * Where the embeddings start: at the mean of a text's tokens, or at these, (n, d). Default "art", a word that no
   * object is near.
   */
  initial: textOrTensor(),
});

/** Options of `invert`. */
export interface InvertOptions extends InversionOptions, Given<typeof OPTIONS> {}

/**
 * Textual inversion (Gal et al., arXiv 2208.01618): learns embeddings under which a model, original or erased, makes the
 * concept of the pictures. On an erased model it is the concept inversion of arXiv 2308.01508, which shows what the
 * erasure has only hidden.
 *
 * min over v of E ‖n − ε(z_t, t, c(v))‖², a mean over elements, by Adam; t is uniform, z_0 the mean latent of a picture.
 * The model is left as it was.
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @throws INVALID_ARGUMENT (no pictures, a token that the vocabulary has), NUMERIC_FAILURE, OUT_OF_MEMORY, ABORTED, and
 *   what `Image.load` and `StableDiffusion.load` throw
 */
export async function invert(model: StableDiffusion | string, options: InvertOptions): Promise<Inversion> {
  const learned = await learnEmbeddings(model, options, "invert", OPTIONS, async (loaded, o) => ({
    start: await startingPoint(loaded, o.initial, o.vectors),
    constraint: null,
  }));
  const [embeddings] = learned.members as [Tensor];
  const { token, history, record, widths } = learned;
  return new Inversion({ token, embeddings, widths, history, record });
}

/** Where embeddings start: (1, n, d) float32 on the model's device. @param initial a text, or (n, d) */
export async function startingPoint(
  model: StableDiffusion,
  initial: unknown,
  vectors: number,
): Promise<Tensor> {
  const width = embeddingWidth(model);
  return scope(() =>
    noGrad(async () => {
      if (!(initial instanceof Tensor)) {
        const own = await tokenEmbeddings(model, "initial", initial);
        return own.mean(0).expand([1, vectors, width]).clone();
      }
      if (initial.shape.join() !== `${vectors},${width}`)
        throw invalid("initial", `of shape (${vectors}, ${width})`, initial.shape);
      return initial.detach().to({ dtype: "float32", device: model.device }).unsqueeze(0).clone();
    }),
  );
}

/** A text to start at, or embeddings. */
export function textOrTensor(): Option<string | Tensor> {
  const typed = text("art", "text whose embedding it starts from");
  return {
    ...typed,
    check: (name, value, about) => (value instanceof Tensor ? value : typed.check(name, value, about)),
  };
}
