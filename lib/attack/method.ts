import type { LearnedToken } from "../diffusion/learned-tokens";
import type { PromptKey } from "../diffusion/prompt-key";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { KpopError } from "../errors";
import type { CosineBand } from "../inversion/cosine-band";
import type { Complete, Given, OptionSet } from "../options/option";
import type { CommonAttackOptions } from "./attack-options";
import type { AttackJob } from "./job";

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

/** An attack as it is written: one file in methods/, one line in the registry. */
export interface AttackDefinition<N extends string, S extends OptionSet> {
  /** Value of `method`, and of the CLI's --method. */
  readonly name: N;
  /** What tables and plots call it. */
  readonly title: string;
  /** The paper. */
  readonly reference: string;
  /** What it looks for, in one line. */
  readonly short: string;
  /** Whether it learns from pictures of the concept. */
  readonly needsPictures: boolean;
  /** Its own options. */
  readonly options: S;
  /** Refuses values that do not go together; needs no model. @throws INVALID_ARGUMENT */
  check?(o: Complete<S>): void;
  /** Refuses what does not fit a model. @throws INVALID_ARGUMENT */
  fit?(o: Complete<S>, model: StableDiffusion): void;
  /** The inputs found, for the caller to dispose of. */
  run(job: AttackJob, o: Complete<S>): Promise<AttackInput[]>;
}

/** An attack, as `attack`, the command line and the benchmark take it. */
export type AttackMethod<N extends string = string, S extends OptionSet = OptionSet> = Readonly<
  AttackDefinition<N, S>
>;

/** What a user gives for an attack. */
export type AttackOptionsOf<A extends AttackMethod> = CommonAttackOptions & { method: A["name"] } & Given<
    A["options"]
  >;

/** An attack, checked for what each has to have. @throws INVALID_ARGUMENT naming the field that is missing */
export function defineAttack<const N extends string, const S extends OptionSet>(
  definition: AttackDefinition<N, S>,
): AttackMethod<N, S> {
  for (const field of ["name", "title", "reference", "short", "needsPictures", "options", "run"] as const)
    if (definition[field] === undefined)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected the definition of the attack ${JSON.stringify(definition.name)} to have ${field}`,
      );
  return Object.freeze({ ...definition, options: Object.freeze({ ...definition.options }) });
}
