import type { Condition } from "../diffusion/condition";
import type { Intervention } from "../diffusion/interventions/intervention";
import type { PictureJob } from "../diffusion/make-pictures";
import type { StableDiffusion, TrainedNetwork } from "../diffusion/stable-diffusion";
import { keep } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import { Job, type JobSettings } from "../training/job";
import type { Player, PlayerOptions } from "../training/player";
import type { Artefact } from "./artefact";
import type { ErasureParts } from "./parts";
import { Average } from "./shared/average";
import type { TrajectoryOptions } from "./shared/latent-options";
import type { LatentSource } from "./shared/latent-source";
import { openLatents, type LatentTexts } from "./shared/open-latents";
import { filterFor, type SpareOptions } from "./shared/update-filter";
import { Preservation, type PreservationOptions } from "./shared/preservation";

/** What a method works with: never files, devices or flags. It owns what it hands out. */
export class ErasureJob extends Job implements ErasureParts {
  /** The model as it came; it stays as it is. */
  readonly base: StableDiffusion;
  /** Its bare networks, without interventions: what is trained is the weights. */
  readonly teacher: StableDiffusion;
  /** The result: float32 copies of `trained`, and everything else shared with the teacher. */
  readonly student: StableDiffusion;
  readonly network: TrainedNetwork;
  /** Keys that the method may change, of `network`. */
  readonly trained: readonly string[];
  readonly concepts: readonly string[];
  readonly preserve: readonly string[];
  readonly neighbours: readonly string[];
  readonly adversarial: boolean;
  readonly artefacts: Artefact[] = [];
  readonly interventions: Intervention[] = [];

  constructor(parts: ErasureParts, settings: Omit<JobSettings, "device">) {
    super({ ...settings, device: parts.base.device });
    this.base = parts.base;
    this.teacher = parts.teacher;
    this.student = parts.student;
    this.network = parts.network;
    this.trained = parts.trained;
    this.concepts = parts.concepts;
    this.preserve = parts.preserve;
    this.neighbours = parts.neighbours;
    this.adversarial = parts.adversarial;
  }

  /** Prompts as conditions, by the text encoder as it came. */
  encode(prompts: readonly string[]): Promise<Condition> {
    return this.base.condition(prompts);
  }

  /** What guidance leads away from where there is no negative prompt: the empty text as the model takes it. */
  unconditional(): Promise<Condition> {
    return this.base.unconditional();
  }

  /** Texts to hold in place: those that the user named, then the neighbours. */
  get held(): string[] {
    return [...this.preserve, ...this.neighbours];
  }

  /** The trained weights of the result, by key. */
  weights(): ReadonlyMap<string, Tensor> {
    const network = this.student[this.network];
    return new Map(this.trained.map((name) => [name, network.parameter(name)]));
  }

  /** Adam over the trained weights of the result, whose steps spare what held texts read as far as `spare` says. */
  async adam(options: Omit<PlayerOptions, "filter"> & SpareOptions): Promise<Player> {
    return this.learn("weights", this.weights(), { ...options, filter: await filterFor(this, options) });
  }

  /** A moving average of the trained weights, which predicts as a model does. @param momentum what an update leaves of it */
  async average(momentum: number): Promise<Average> {
    return this.part("average", this.hold(await Average.create(this, momentum)));
  }

  /**
   * Noisy latents to train on, of trajectories that are guided towards texts. A pool is filled when iterations begin.
   * @param name of its part of the state. Sources of several names, with as many texts each, have the same noise,
   *   timesteps and text indices item by item: they differ by where the texts lead.
   */
  async latents(options: TrajectoryOptions, texts: LatentTexts, name = "latents"): Promise<LatentSource> {
    return this.part(name, await openLatents(this, options, texts));
  }

  /** The loss that holds `preserve` and the neighbours in place; it is none where there are none. */
  preservation(options: PreservationOptions): Promise<Preservation> {
    return Preservation.create(this, options);
  }

  /** What pictures to train on are made for. */
  pictureJob(): PictureJob {
    const { onPrepare } = this.settings;
    return { base: this.base, signal: this.signal, onPrepare };
  }

  /** Leaves something beside the weights, for the caller to save and to free. */
  give<A extends Artefact>(artefact: A): A {
    this.artefacts.push(artefact);
    return keep(artefact);
  }

  /** Makes the result denoise in another way; its tensors go with the result. */
  intervene(intervention: Intervention): void {
    this.interventions.push(intervention);
    keep(intervention.tensors);
  }
}
