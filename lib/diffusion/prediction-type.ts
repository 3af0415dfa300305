/** What a network predicts of z_t, by diffusers' names: ε, or v = √ᾱ ε − √(1−ᾱ) z_0 (Salimans and Ho, arXiv 2202.00512). */
export type PredictionType = "epsilon" | "v_prediction";

export const PREDICTION_TYPES: readonly PredictionType[] = ["epsilon", "v_prediction"];

/** Factors of z_0 and of the noise in z_t: √ᾱ and √(1−ᾱ). @inline */
export interface Level {
  readonly signal: number;
  readonly noise: number;
}

/** The level of a σ = √((1−ᾱ)/ᾱ). */
export function levelOf(sigma: number): Level {
  const length = Math.hypot(sigma, 1);
  return { signal: 1 / length, noise: sigma / length };
}

/** Factors of z_t and of what the network predicts there; a quantity is their sum. */
export interface Mixture {
  readonly latents: number;
  readonly prediction: number;
}

/** ε: the prediction itself, or √(1−ᾱ) z + √ᾱ v. */
export function noiseMixture(type: PredictionType, { signal, noise }: Level): Mixture {
  return type === "epsilon" ? { latents: 0, prediction: 1 } : { latents: noise, prediction: signal };
}

/** x̂₀: (z − √(1−ᾱ) ε)/√ᾱ, or √ᾱ z − √(1−ᾱ) v. */
export function cleanMixture(type: PredictionType, { signal, noise }: Level): Mixture {
  return type === "epsilon"
    ? { latents: 1 / signal, prediction: -noise / signal }
    : { latents: signal, prediction: -noise };
}
