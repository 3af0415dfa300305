import { describe, integer } from "../check";
import { KpopError } from "../errors";
import type { Linear } from "./linear";
import { linear } from "./linear";
import { levelOf, PREDICTION_TYPES, type Level, type PredictionType } from "./prediction-type";

/** The fields of a diffusers `scheduler_config.json` that the forward process is made of; all of them checked. */
export interface NoiseScheduleConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: BetaSchedule;
  /** What the network predicts. Default "epsilon". */
  readonly predictionType?: PredictionType;
  /** Whether ᾱ is moved so that it ends at 0 (Lin et al., arXiv 2305.08891, algorithm 1). Default false. */
  readonly zeroTerminalSnr?: boolean;
  /** Added to the inference timesteps. */
  readonly stepsOffset: number;
  /** The level behind the last step: 1 (no noise) if true, else that of timestep 0. Absent: each sampler's own, as in diffusers. */
  readonly setAlphaToOne?: boolean;
  /** How a sampler spreads its timesteps. Absent: each sampler's own, as in diffusers. */
  readonly timestepSpacing?: TimestepSpacing;
  /** Whether solvers in σ space their levels by Karras' rule (arXiv 2206.00364 eq. 5). Default false. */
  readonly useKarrasSigmas?: boolean;
  /** Steps that a latent consistency model was distilled on. Default 50. */
  readonly lcmOriginalSteps?: number;
  /** What its boundary condition multiplies t by. Default 10. */
  readonly lcmTimestepScaling?: number;
  /** False where the config's own sampler is a PNDM that begins with Runge-Kutta steps, which `pndm` here lacks. */
  readonly skipPrkSteps: boolean;
}

/** Where a sampler's timesteps lie (Lin et al., arXiv 2305.08891, table 2). */
export type TimestepSpacing = "leading" | "linspace" | "trailing";

/** `scaled_linear`: √β is linear in t, as in latent diffusion (Rombach et al., arXiv 2112.10752). */
export type BetaSchedule = "linear" | "scaled_linear" | "squaredcos_cap_v2";

/** Stable Diffusion 1.x: what a single-file checkpoint, which has no scheduler config, is sampled with. */
export const STABLE_DIFFUSION_SCHEDULE: NoiseScheduleConfig = Object.freeze({
  numTrainTimesteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  betaSchedule: "scaled_linear",
  stepsOffset: 1,
  setAlphaToOne: false,
  skipPrkSteps: true,
});

/** Values under which the mathematics is ours; a field that is absent passes. */
const ONLY: Readonly<Record<string, readonly unknown[]>> = {
  clip_sample: [false],
  thresholding: [false],
  trained_betas: [],
};
const SPACINGS: readonly TimestepSpacing[] = ["leading", "linspace", "trailing"];
const BETA_SCHEDULES: readonly BetaSchedule[] = ["linear", "scaled_linear", "squaredcos_cap_v2"];
/** Schedulers of diffusers that share these fields and this forward process; flow matching and EDM do not. */
const SCHEDULERS =
  /^(?:DDIM|DDPM|PNDM|LMSDiscrete|Euler(?:Ancestral)?Discrete|HeunDiscrete|DPMSolver(?:Multi|Single)step|DPMSolverSDE|LCM|DEISMultistep|UniPCMultistep|KDPM2(?:Ancestral)?Discrete)Scheduler$/;

/**
 * The forward process of a diffusion model over integer timesteps t = 0 … T−1: z_t = √ᾱ_t z_0 + √(1−ᾱ_t) n with
 * ᾱ_t = Π_{s≤t}(1−β_s) (Ho et al., arXiv 2006.11239 eq. 4). Computed in float64; diffusers rounds every β to
 * float32, and its ᾱ differ from these by less than 1e-6 of their value for Stable Diffusion's schedule.
 */
export class NoiseSchedule {
  readonly config: NoiseScheduleConfig;
  readonly betas: Float64Array;
  readonly alphasCumprod: Float64Array;

  constructor(config: NoiseScheduleConfig = STABLE_DIFFUSION_SCHEDULE) {
    this.config = Object.freeze({ ...config });
    const betas = betasOf(config);
    let product = 1;
    const alphas = betas.map((beta) => (product *= 1 - beta));
    const isMoved = config.zeroTerminalSnr === true;
    this.alphasCumprod = isMoved ? endingAtZero(alphas) : alphas;
    this.betas = isMoved ? this.alphasCumprod.map((alpha, t, all) => 1 - alpha / (all[t - 1] ?? 1)) : betas;
  }

  /**
   * From the parsed `scheduler_config.json`, whatever sampler it names; absent fields take diffusers' defaults,
   * save that latents are never clipped.
   * @throws UNSUPPORTED_MODEL naming the field under which the mathematics would differ; INVALID_CHECKPOINT
   */
  static fromConfig(json: unknown): NoiseSchedule {
    return new NoiseSchedule(parseConfig(json));
  }

  /** What the network predicts. */
  get predictionType(): PredictionType {
    return this.config.predictionType ?? "epsilon";
  }

  /** T. */
  get length(): number {
    return this.alphasCumprod.length;
  }

  /** The same without the move to an end at 0, of which some samplers know nothing. */
  get unmoved(): NoiseSchedule {
    const { zeroTerminalSnr: isMoved, ...config } = this.config;
    return isMoved === true ? new NoiseSchedule(config) : this;
  }

  /**
   * ᾱ_t; for a negative t, the level behind the last step.
   * @param cleanEnd whether that is 1 where the config does not say. Default true, as of DDIM
   * @throws INVALID_ARGUMENT
   */
  alphaCumprod(timestep: number, cleanEnd = true): number {
    integer("timestep", timestep, -this.length, this.length - 1);
    if (timestep >= 0) return this.alphasCumprod[timestep]!;
    return (this.config.setAlphaToOne ?? cleanEnd) ? 1 : this.alphasCumprod[0]!;
  }

  /**
   * σ_t = √((1−ᾱ_t)/ᾱ_t), the noise level in the variance-exploding view (Karras et al., arXiv 2206.00364); between two
   * integers t, the line between their levels. Where ᾱ ends at 0, the last level is taken as 4096, as in diffusers.
   */
  sigma(timestep: number): number {
    const below = Math.floor(timestep);
    const sigmaAt = (t: number): number => {
      const alpha = this.alphaCumprod(t) || STAND_IN;
      return Math.sqrt((1 - alpha) / alpha);
    };
    const level = sigmaAt(below);
    return below === timestep ? level : level + (timestep - below) * (sigmaAt(below + 1) - level);
  }

  /** √ᾱ_t and √(1−ᾱ_t); between two integers t, those of `sigma`. @throws INVALID_ARGUMENT */
  level(timestep: number): Level {
    return Number.isInteger(timestep) ? this.noising(timestep) : levelOf(this.sigma(timestep));
  }

  /** The factors of z_0 and of the noise in z_t: √ᾱ_t and √(1−ᾱ_t). @throws INVALID_ARGUMENT */
  noising(timestep: number): Level {
    const alpha = this.alphaCumprod(integer("timestep", timestep, 0, this.length - 1));
    return { signal: Math.sqrt(alpha), noise: Math.sqrt(1 - alpha) };
  }

  /** z_t from z_0 and noise ~ N(0, I) of its shape. @throws INVALID_ARGUMENT */
  addNoise<T extends Linear<T>>(clean: T, noise: T, timestep: number): T {
    const factor = this.noising(timestep);
    return linear([
      [factor.signal, clean],
      [factor.noise, noise],
    ]);
  }
}

/** ᾱ that σ is of where ᾱ is 0: float16's smallest number, as in diffusers. */
const STAND_IN = 2 ** -24;

/** Moves √ᾱ so that it ends at 0 and begins where it did (arXiv 2305.08891, algorithm 1). */
function endingAtZero(alphas: Float64Array): Float64Array {
  const [first, last] = [Math.sqrt(alphas[0]!), Math.sqrt(alphas.at(-1)!)];
  return alphas.map((alpha) => (((Math.sqrt(alpha) - last) * first) / (first - last)) ** 2);
}

function betasOf(config: NoiseScheduleConfig): Float64Array {
  const { numTrainTimesteps: count, betaStart, betaEnd, betaSchedule } = config;
  if (betaSchedule === "squaredcos_cap_v2") {
    // Nichol and Dhariwal, arXiv 2102.09672 eq. 17, with β capped at 0.999.
    const level = (t: number): number => Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
    return Float64Array.from({ length: count }, (_, i) =>
      Math.min(1 - level((i + 1) / count) / level(i / count), 0.999),
    );
  }
  const power = betaSchedule === "scaled_linear" ? 2 : 1;
  const from = betaStart ** (1 / power);
  const to = betaEnd ** (1 / power);
  const step = count > 1 ? (to - from) / (count - 1) : 0;
  return Float64Array.from({ length: count }, (_, i) => (from + step * i) ** power);
}

/** β₁, β_T and what lies between of diffusers' classes whose defaults are others than DDPM's. */
const BETAS: Readonly<Record<string, readonly [number, number, BetaSchedule]>> = {
  HeunDiscreteScheduler: [0.00085, 0.012, "linear"],
  LCMScheduler: [0.00085, 0.012, "scaled_linear"],
};

function parseConfig(json: unknown): NoiseScheduleConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw malformed("it", "a JSON object", json);
  const fields = json as Record<string, unknown>;
  const name = fields["_class_name"] ?? "";
  if (typeof name !== "string" || (name !== "" && !SCHEDULERS.test(name)))
    throw unsupported("_class_name", name, "a scheduler of a DDPM, such as PNDMScheduler or DDIMScheduler");
  for (const [field, allowed] of Object.entries(ONLY)) {
    const value = fields[field] ?? undefined;
    if (value !== undefined && !allowed.includes(value))
      throw unsupported(field, value, allowed.length > 0 ? JSON.stringify(allowed[0]) : "null");
  }
  const [betaStart, betaEnd, schedule] = BETAS[name] ?? [0.0001, 0.02, "linear"];
  const betaSchedule = fields["beta_schedule"] ?? schedule;
  if (!BETA_SCHEDULES.includes(betaSchedule as BetaSchedule))
    throw unsupported("beta_schedule", betaSchedule, `one of ${BETA_SCHEDULES.join(", ")}`);

  const spacing = fields["timestep_spacing"] ?? undefined;
  if (spacing !== undefined && !SPACINGS.includes(spacing as TimestepSpacing))
    throw unsupported("timestep_spacing", spacing, `one of ${SPACINGS.join(", ")}`);

  const prediction = fields["prediction_type"] ?? "epsilon";
  if (!PREDICTION_TYPES.includes(prediction as PredictionType))
    throw unsupported("prediction_type", prediction, `one of ${PREDICTION_TYPES.join(", ")}`);
  const zeroTerminalSnr = boolean(fields, "rescale_betas_zero_snr", false);
  if (zeroTerminalSnr && prediction === "epsilon")
    throw unsupported(
      "rescale_betas_zero_snr",
      true,
      'false with the prediction_type "epsilon", which tells nothing of the picture where there is noise alone',
    );

  const numTrainTimesteps = number(fields, "num_train_timesteps", 1000, 1, 1_000_000, true);
  return {
    numTrainTimesteps,
    betaStart: number(fields, "beta_start", betaStart, Number.MIN_VALUE, 0.999),
    betaEnd: number(fields, "beta_end", betaEnd, Number.MIN_VALUE, 0.999),
    betaSchedule: betaSchedule as BetaSchedule,
    ...(prediction === "epsilon" ? {} : { predictionType: prediction as PredictionType }),
    ...(zeroTerminalSnr ? { zeroTerminalSnr } : {}),
    stepsOffset: number(fields, "steps_offset", 0, 0, numTrainTimesteps - 1, true),
    ...given(fields, "set_alpha_to_one", (field) => ({ setAlphaToOne: boolean(fields, field, true) })),
    ...(spacing === undefined ? {} : { timestepSpacing: spacing as TimestepSpacing }),
    ...(boolean(fields, "use_karras_sigmas", false) ? { useKarrasSigmas: true } : {}),
    ...given(fields, "original_inference_steps", (field) => ({
      lcmOriginalSteps: number(fields, field, 50, 1, numTrainTimesteps, true),
    })),
    ...given(fields, "timestep_scaling", (field) => ({
      lcmTimestepScaling: number(fields, field, 10, Number.MIN_VALUE, 1e6),
    })),
    skipPrkSteps: boolean(fields, "skip_prk_steps", name !== "PNDMScheduler"),
  };
}

/** What a field says, or nothing where it is absent. */
function given<T extends object>(
  fields: Record<string, unknown>,
  field: string,
  read: (field: string) => T,
): T | object {
  return (fields[field] ?? undefined) === undefined ? {} : read(field);
}

function number(
  fields: Record<string, unknown>,
  field: string,
  fallback: number,
  minimum: number,
  maximum: number,
  whole = false,
): number {
  const value = fields[field] ?? fallback;
  if (
    typeof value !== "number" ||
    !(value >= minimum && value <= maximum) ||
    (whole && !Number.isInteger(value))
  )
    throw malformed(field, `${whole ? "an integer" : "a number"} from ${minimum} to ${maximum}`, value);
  return value;
}

function boolean(fields: Record<string, unknown>, field: string, fallback: boolean): boolean {
  const value = fields[field] ?? fallback;
  if (typeof value !== "boolean") throw malformed(field, "true or false", value);
  return value;
}

function malformed(field: string, expected: string, value: unknown): KpopError {
  return new KpopError(
    "INVALID_CHECKPOINT",
    `Expected ${field} in scheduler_config.json to be ${expected} but it is ${describe(value)}`,
  );
}

function unsupported(field: string, value: unknown, expected: string): KpopError {
  return new KpopError(
    "UNSUPPORTED_MODEL",
    `${field} in scheduler_config.json is ${describe(value)}, which changes the mathematics; supported is ${expected}`,
  );
}
