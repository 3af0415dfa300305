import { KpopError } from "../../errors";
import { choice, integer, number, text } from "../../options/kinds";
import { complete, type Complete } from "../../options/option";
import type { Tensor } from "../../runtime/tensor";
import {
  checkVersion,
  type Intervention,
  type Steering,
  type SteeringIntervention,
  type StepPredictions,
  type StoredIntervention,
} from "./intervention";

const VERSION = 1;

/** What SLD's guidance is like. */
export interface SldSettings {
  /** The text that guidance is led away from. */
  readonly concept: string;
  /** Steps before it begins, δ. */
  readonly warmup: number;
  /** s_S: how strongly; below 1 it does nothing. */
  readonly scale: number;
  /** λ: how far the prompt's prediction may lie from the concept's and still be led away. */
  readonly threshold: number;
  /** s_m: how much of the momentum is added. */
  readonly momentumScale: number;
  /** β_m: how much of the momentum stays. */
  readonly momentum: number;
}

/** The paper's four configurations; "weak" has the scale of the scripts that compare with it, 200, where diffusers has 20. */
export const SLD_PRESETS: Readonly<Record<string, Omit<SldSettings, "concept">>> = Object.freeze({
  weak: { warmup: 15, scale: 200, threshold: 0, momentumScale: 0, momentum: 0 },
  medium: { warmup: 10, scale: 1000, threshold: 0.01, momentumScale: 0.3, momentum: 0.4 },
  strong: { warmup: 7, scale: 2000, threshold: 0.025, momentumScale: 0.5, momentum: 0.7 },
  max: { warmup: 0, scale: 5000, threshold: 1, momentumScale: 0.5, momentum: 0.7 },
});

const SETTINGS = Object.freeze({
  concept: text(undefined, "the text that guidance is led away from"),
  warmup: integer(undefined, "steps before it begins", { from: 0 }),
  scale: number(0, "how strongly", { from: 0 }),
  threshold: number(0, "how far from the concept"),
  momentumScale: number(0, "how much of the momentum is added", { from: 0 }),
  momentum: number(0, "how much of the momentum stays", { from: 0, to: 1 }),
});

/** Larger than the inverse of any difference between two predictions: what is above 0 goes over 1. */
const STEEP = 1e30;

/**
 * Safe latent diffusion's guidance (Schramowski et al., arXiv 2211.05105), element by element, with the momentum ν
 * starting at 0:
 *   μ = min(1, s_S |ε_p − ε_S|) where ε_p − ε_S < λ, else 0;  γ = μ (ε_S − ε_0) + s_m ν;  ν ← β_m ν + (1 − β_m) γ;
 *   ε = ε_0 + w (ε_p − ε_0 − γ) from step δ on, plain guidance before. ν moves from the first step on,
 * once a step: where a sampler evaluates twice in one, by the second.
 *
 * It is written as what guidance takes for the prompt's prediction: ε_p − γ.
 */
export function sldGuidance(settings: SldSettings): SteeringIntervention {
  return Object.freeze({
    name: "sld",
    version: VERSION,
    settings: { ...settings },
    prompts: [settings.concept],
    start: (): Steering => new SldSteering(settings),
  });
}

/** The intervention of saved settings. @throws UNSUPPORTED_FORMAT, INVALID_ARGUMENT */
export function readSld({ version, settings }: StoredIntervention): Intervention {
  checkVersion("sld", version, VERSION);
  const given: Complete<typeof SETTINGS> = complete(SETTINGS, settings, { concepts: [] }, "settings.");
  const { concept, warmup } = given;
  if (concept === undefined || warmup === undefined)
    throw new KpopError("INVALID_CHECKPOINT", 'The intervention "sld" lacks its concept or its warm-up');
  return sldGuidance({ ...given, concept, warmup });
}

class SldSteering implements Steering {
  /** ν before the present step, and after it. */
  private before: Tensor | null = null;
  private after: Tensor | null = null;
  private step = 0;

  constructor(private readonly settings: SldSettings) {}

  steer({ conditional, unconditional, others, step }: StepPredictions): Tensor {
    const { warmup, scale, threshold, momentumScale, momentum: stays } = this.settings;
    if (scale < 1) return conditional;
    const [unsafe] = others as [Tensor];
    const away = conditional.sub(unsafe);
    const near = away.neg().add(threshold).mul(STEEP).clamp(0, 1);
    const strength = away.abs().mul(scale).clamp(0, 1).mul(near);
    const own = unsafe.sub(unconditional).mul(strength);
    if (step !== this.step) [this.step, this.before] = [step, this.after];
    const before = this.before;
    const guidance = before === null ? own : own.add(before.mul(momentumScale));
    const after = guidance.mul(1 - stays);
    this.after = (before === null ? after : after.add(before.mul(stays))).detach();
    return step < warmup ? conditional : conditional.sub(guidance);
  }

  get retained(): readonly Tensor[] {
    return [this.before, this.after].filter((tensor) => tensor !== null);
  }
}

/** A preset's name as an option. */
export function sldPreset() {
  return choice("medium", ["weak", "medium", "strong", "max"], "how strongly: weak, medium, strong or max");
}
