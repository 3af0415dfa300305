import type { StableDiffusion } from "../diffusion/stable-diffusion";
import type { Image } from "../io/image";
import { Job, type JobSettings } from "../training/job";
import type { StepReport } from "../training/step-report";
import type { Drawing } from "./attack-options";
import type { AttackInput } from "./input";

/** What an attack works on. */
export interface AttackParts {
  /** The attacked model; it stays as it is. */
  readonly model: StableDiffusion;
  /** Name of the erased class. */
  readonly concept: string;
  /** What the concept is asked for with: the template, "{}" in it, and the same with the name. */
  readonly template: string;
  readonly prompt: string;
  /** Pictures of the concept; empty where none are needed. */
  readonly images: readonly (Image | string)[];
  /** Which of the attack's searches this is; 0 of an attack that has one. */
  readonly target: number;
  /** How pictures are drawn. */
  readonly drawing: Drawing;
  /** Draws one picture of an input from the noise of `seed`, and says whether the classifier names the concept. */
  succeeds(input: AttackInput, seed: number): Promise<boolean>;
}

/** What an attack works with. It owns what it hands out, and counts the evaluations that the search spends. */
export class AttackJob extends Job implements AttackParts {
  readonly model: StableDiffusion;
  readonly concept: string;
  readonly template: string;
  readonly prompt: string;
  readonly images: readonly (Image | string)[];
  readonly target: number;
  readonly drawing: Drawing;
  readonly succeeds: AttackParts["succeeds"];

  constructor(parts: AttackParts, settings: Omit<JobSettings, "device" | "dtype">) {
    super({ ...settings, device: parts.model.device, dtype: parts.model.dtype });
    this.model = parts.model;
    this.concept = parts.concept;
    this.template = parts.template;
    this.prompt = parts.prompt;
    this.images = parts.images;
    this.target = parts.target;
    this.drawing = parts.drawing;
    this.succeeds = (input, seed) => parts.succeeds(input, seed);
  }

  /** The whole of this run as that of an inversion. */
  asInversion() {
    const { seed, signal, checkpoint, resume } = this.settings;
    return {
      images: this.images,
      seed,
      resume,
      onStep: (step: StepReport) => this.report(step),
      ...(signal === undefined ? {} : { signal }),
      ...(checkpoint === undefined ? {} : { checkpoint }),
    };
  }

  /** Of every random draw; pictures start from the noise of it and what follows. */
  get seed(): number {
    return this.settings.seed;
  }
}
