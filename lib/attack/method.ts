import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { KpopError } from "../errors";
import type { Complete, Given, OptionSet } from "../options/option";
import type { CommonAttackOptions } from "./attack-options";
import type { AttackInput } from "./input";
import type { AttackJob } from "./job";

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
  /** What its inputs are. */
  readonly finds: string;
  /** Whether it learns from pictures of the concept. */
  readonly needsPictures: boolean;
  /** What the search spends, in one line: the UNet's evaluations for one item, and with its defaults in all. */
  readonly cost: string;
  /** Its own options. */
  readonly options: S;
  /** Refuses values that do not go together; needs no model. @throws INVALID_ARGUMENT */
  check?(o: Complete<S>): void;
  /** Refuses what does not fit a model. @throws INVALID_ARGUMENT */
  fit?(o: Complete<S>, model: StableDiffusion): void;
  /** Searches that know nothing of each other, which `run` does one at a time, `job.target` by `job.target`. Default 1. */
  targets?(o: Complete<S>, pictures: number): number;
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

const FIELDS = [
  ...(["name", "title", "reference", "short", "finds", "needsPictures", "cost"] as const),
  ...(["options", "run"] as const),
];

/** An attack, checked for what each has to have. @throws INVALID_ARGUMENT naming the field that is missing */
export function defineAttack<const N extends string, const S extends OptionSet>(
  definition: AttackDefinition<N, S>,
): AttackMethod<N, S> {
  for (const field of FIELDS)
    if (definition[field] === undefined)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected the definition of the attack ${JSON.stringify(definition.name)} to have ${field}`,
      );
  return Object.freeze({ ...definition, options: Object.freeze({ ...definition.options }) });
}
