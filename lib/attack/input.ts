import type { LearnedToken } from "../diffusion/learned-tokens";
import type { Lora } from "../diffusion/lora";
import type { PromptKey } from "../diffusion/prompt-key";
import type { CosineBand } from "../inversion/cosine-band";
import type { Tensor } from "../runtime/tensor";

/** An input that an attack has found: what the model is asked for with. */
export interface AttackInput {
  /** Short, of this input alone among the attack's: a token, a band, a number of steps. */
  readonly name: string;
  readonly prompt: string;
  /** What it reads as, where learned tokens in the prompt hide that. */
  readonly text?: string;
  /** Learned tokens that the prompt names. */
  readonly tokens?: readonly (LearnedToken & { dispose(): void })[];
  /** A learned prompt that its pictures see. */
  readonly key?: PromptKey;
  /** What its one picture starts from in place of a seed's noise, and DDIM takes down: (1, 4, h, w). */
  readonly latents?: Tensor;
  /** A change of the model's weights that its pictures are drawn with. */
  readonly lora?: Lora;
  /** Cosines with the concept's own embedding that it was held between. */
  readonly band?: CosineBand;
  /** Seed of the one picture that it is for; else it is measured on as many pictures as asked for. */
  readonly seed?: number;
}
