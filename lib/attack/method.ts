import type { LearnedToken } from "../diffusion/learned-tokens";
import type { PromptKey } from "../diffusion/prompt-key";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import type { CosineBand } from "../inversion/cosine-band";
import type { Image } from "../io/image";
import type { Random } from "../runtime/random";
import type { EvaluationCounter } from "../training/evaluations";
import type { ParsedRunOptions } from "../training/run-options";
import type { StepReport } from "../training/step-report";

/** An input that an attack has found: what the model is asked for with. */
export interface AttackInput {
  /** Short, of this input alone among the attack's: a token, a band, a number of steps. */
  readonly name: string;
  readonly prompt: string;
  /** What it reads as, where learned tokens in the prompt hide that. */
  readonly text?: string;
  /** Learned tokens that the prompt names. */
  readonly tokens?: readonly (LearnedToken & { dispose(): void })[];
  /** A prompt to inject in cross-attention. */
  readonly key?: PromptKey;
  /** Cosines with the concept's own embedding that it was held between. */
  readonly band?: CosineBand;
  /** Seed of the one picture that it is for; else it is measured on as many pictures as asked for. */
  readonly seed?: number;
}

/** What an attack works with. */
export interface AttackContext {
  /** The attacked model; it stays as it is. */
  readonly model: StableDiffusion;
  /** Name of the erased class. */
  readonly concept: string;
  /** What the concept is asked for with: the template, "{}" in it, and the same with the name. */
  readonly template: string;
  readonly prompt: string;
  /** Pictures of the concept; empty where `needsPictures` is false. */
  readonly images: readonly (Image | string)[];
  readonly random: Random;
  /** What the whole run takes: draws, cancellation, where its state is kept. */
  readonly job: ParsedRunOptions;
  /** SHA-256 of what the result depends on outside of the attack's own options. */
  readonly identity: () => Promise<object>;
  /** UNet evaluations that the search spends, pictures included. */
  readonly evaluations: EvaluationCounter;
  /** Draws one picture of an input from the noise of `seed`, and says whether the classifier names the concept. */
  readonly succeeds: (input: AttackInput, seed: number) => Promise<boolean>;
  /** Tells how far the search is. */
  readonly report: (step: StepReport) => void | Promise<void>;
}

/** An attack: one file in methods/, one line in the registry. */
export interface AttackMethod<O extends object> {
  /** Registry key, and value of the CLI's --method. */
  readonly name: string;
  /** The paper. */
  readonly reference: string;
  /** What it looks for, in one line. */
  readonly summary: string;
  /** Whether it learns from pictures of the concept. */
  readonly needsPictures: boolean;
  /** Every option of the attack's own with its default; flags and help come from here. */
  readonly defaults: Readonly<O>;
  /** One line of help for each of `defaults`. */
  readonly help: Readonly<Record<keyof O, string>>;
  /** Checks given options over the defaults. @throws INVALID_ARGUMENT naming the option */
  parse(given: Readonly<Record<string, unknown>>, model: StableDiffusion): O;
  /** The inputs found, for the caller to dispose of. */
  run(context: AttackContext, options: O): Promise<AttackInput[]>;
}
