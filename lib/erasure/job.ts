import type { Condition } from "../diffusion/condition";
import type { ConditionOptions } from "../diffusion/model";
import type { Intervention } from "../diffusion/interventions/intervention";
import type { Lora } from "../diffusion/lora";
import type { ImageSetItem } from "../diffusion/image-set";
import { makePictures, type PictureOptions, type PictureSet } from "../diffusion/make-pictures";
import { encodePictures } from "../diffusion/picture-latents";
import type { StableDiffusion, TrainedNetwork } from "../diffusion/stable-diffusion";
import type { Image } from "../io/image";
import { keep, scope } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import { Job, type JobSettings } from "../training/job";
import type { Player, PlayerOptions } from "../training/player";
import type { Artefact } from "./artefact";
import type { ErasureParts } from "./parts";
import { Average } from "./shared/average";
import { keptTensors, type Making } from "./shared/kept-tensors";
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
  readonly lora: Lora | null;
  readonly concepts: readonly string[];
  readonly preserve: readonly string[];
  readonly neighbours: readonly string[];
  readonly adversarial: boolean;
  readonly artefacts: Artefact[] = [];
  readonly interventions: Intervention[] = [];

  constructor(parts: ErasureParts, settings: Omit<JobSettings, "device" | "dtype">) {
    super({ ...settings, device: parts.base.device, dtype: parts.base.dtype });
    this.base = parts.base;
    this.teacher = parts.teacher;
    this.student = parts.student;
    this.network = parts.network;
    this.trained = parts.trained;
    this.lora = parts.lora;
    this.concepts = parts.concepts;
    this.preserve = parts.preserve;
    this.neighbours = parts.neighbours;
    this.adversarial = parts.adversarial;
  }

  /** Prompts as conditions, by the text encoder as it came. */
  encode(prompts: readonly string[], options?: Pick<ConditionOptions, "length">): Promise<Condition> {
    return this.base.condition(prompts, options);
  }

  /** What guidance leads away from where there is no negative prompt: the empty text as the model takes it. */
  unconditional(): Promise<Condition> {
    return this.base.unconditional();
  }

  /** Texts to hold in place: those that the user named, then the neighbours. */
  get held(): string[] {
    return [...this.preserve, ...this.neighbours];
  }

  /** The trained weights of the result as they are, by key, with a graph to what is learned. */
  weights(): ReadonlyMap<string, Tensor> {
    if (this.lora !== null) return this.lora.weightsIn(this.teacher.unet, "float32");
    const network = this.student[this.network];
    return new Map(this.trained.map((name) => [name, network.parameter(name)]));
  }

  /** What is learned: those weights themselves, or the factors of their change, by name. */
  learned(): ReadonlyMap<string, Tensor> {
    return this.lora?.tensors() ?? this.weights();
  }

  /** Brings the result's weights in line with what is learned, where that is another thing. */
  async settle(): Promise<void> {
    await this.lora?.write(this.student.unet, this.teacher.unet);
  }

  /** Puts the trained weights back to what they were. */
  async reset(): Promise<void> {
    await this.lora?.reset();
    const before = this.teacher[this.network];
    if (this.lora === null)
      for (const [name, weight] of this.weights())
        await scope(() => weight.copyFrom(before.parameter(name).to("float32")));
    await this.settle();
  }

  /** Adam over what is learned of the result, whose steps spare what held texts read as far as `spare` says. */
  async adam(options: Omit<PlayerOptions, "filter" | "settled"> & SpareOptions): Promise<Player> {
    const filter = await filterFor(this, options);
    if (this.lora === null) return this.learn("weights", this.weights(), { ...options, filter });
    // What of a text passes the filter is what `down` reads.
    const reading = filter && {
      ...filter,
      applies: (name: string) => filter.applies(name.replace(/\.down$/, "")),
    };
    if (filter !== null) await this.lora.startThrough(filter);
    return this.learn("weights", this.lora.tensors(), {
      ...options,
      filter: reading,
      settled: () => this.settle(),
    });
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

  /** Pictures to train on, made or found. @throws what `makePictures` throws */
  pictures(items: readonly ImageSetItem[], options: PictureOptions): Promise<PictureSet> {
    const { onPrepare } = this.settings;
    return makePictures({ base: this.base, signal: this.signal, onPrepare }, items, options);
  }

  /** Pictures as the network sees them: `encodePictures`. */
  async pictureLatents(images: readonly (Image | string)[], mirrored = false): Promise<Tensor> {
    return (await encodePictures(this.base, images, { mirrored, signal: this.signal })).latents;
  }

  /** What is made once for some items and kept, in their order: `keptTensors`. */
  kept<I>(items: readonly I[], making: Making<I>): Promise<Tensor[]> {
    return keptTensors(this, items, making);
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
