import { join } from "node:path";
import { generateImageSet, type ImageSet, type ImageSetItem } from "../../diffusion/image-set";
import { sampler } from "../../diffusion/samplers";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { throwIfAborted } from "../../errors";
import { cacheFolder } from "../../runtime/cache-directory";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureContext } from "../method";
import type { CaptionPair } from "./caption-pairs";
import { drawPlacement, placementMask, placePictures, type Frame } from "./placement";
import { rows } from "./rows";

/** How pictures of anchors are made, and what is done to them. */
export interface AnchorPicturesOptions {
  /** Pictures of each concept's anchor; at least as many as it has captions. */
  images: number;
  samplingSteps: number;
  guidanceScale: number;
  /** Where they are kept; "" is the user's cache directory. */
  cacheDirectory: string;
  /** Sizes and mirror images, mirror images alone, or neither. */
  augmentation: "scale" | "mirror" | "none";
  batchSize: number;
}

/** What one iteration trains on. */
export interface AnchorBatch {
  /** Latents of the pictures without noise, scaled, (B, 4, h, w), float32. */
  readonly clean: Tensor;
  /** (B, 1, h, w), where the loss looks; null: everywhere. */
  readonly mask: Tensor | null;
  /** What each picture shows, c*. */
  readonly anchors: readonly string[];
  /** The same with the concept in it, c. */
  readonly targets: readonly string[];
}

/** A picture that a concept is trained on. */
interface Use {
  /** Among all pictures. */
  readonly picture: number;
  readonly pair: CaptionPair;
}

/** Pictures made and read together. */
const TOGETHER = 4;

/**
 * Pictures that the model draws of anchors, made once and kept on disk, for CA to train on. Picture i of a caption
 * starts from the noise of seed i whatever the run's seed, so that runs share them.
 */
export class AnchorPictures {
  private constructor(
    private readonly context: ErasureContext,
    private readonly options: AnchorPicturesOptions,
    private readonly uses: readonly (readonly Use[])[],
    /** Of all pictures: (N, 3, H, W) uint8 on the CPU where they are augmented, else latents (N, 4, h, w). */
    private readonly held: Tensor,
    private readonly frame: Frame,
  ) {}

  /**
   * Makes the pictures, or finds them.
   * @param captions of each concept
   * @throws NO_SPACE, IO_ERROR, OUT_OF_MEMORY, ABORTED; the pictures made until then stay
   */
  static async create(
    context: ErasureContext,
    captions: readonly (readonly CaptionPair[])[],
    options: AnchorPicturesOptions,
  ): Promise<AnchorPictures> {
    const { base } = context;
    const items: ImageSetItem[] = [];
    const known = new Map<string, number>();
    const pictureOf = (prompt: string, seed: number): number => {
      const key = JSON.stringify([prompt, seed]);
      if (!known.has(key)) known.set(key, items.push({ prompt, seed }) - 1);
      return known.get(key)!;
    };
    const uses = captions.map((pairs) =>
      Array.from({ length: options.images }, (_, i): Use => {
        const pair = pairs[i % pairs.length]!;
        return { picture: pictureOf(pair.anchor, i), pair };
      }),
    );
    const set = await makePictures(context, items, options);
    const held = await readPictures(context, set, options.augmentation === "none");
    return new AnchorPictures(context, options, uses, held, {
      size: base.imageSize,
      cell: base.vae.downsampling,
    });
  }

  /** Pictures drawn for an iteration, the concepts taking turns. */
  async next(iteration: number): Promise<AnchorBatch> {
    const { batchSize, augmentation } = this.options;
    const { device } = this.context.base;
    const items = Array.from({ length: batchSize }, (_, item) => {
      const uses = this.uses[(iteration * batchSize + item) % this.uses.length]!;
      const random = this.context.random.at("anchor", iteration, item);
      const { picture, pair } = uses[random.at("picture").below(uses.length)]!;
      const target = pair.targets[random.at("target").below(pair.targets.length)]!;
      const placement = drawPlacement(random, this.frame, augmentation === "scale");
      return { picture, anchor: pair.anchor, target, placement };
    });
    const drawn = rows(
      this.held,
      items.map(({ picture }) => picture),
    );
    if (augmentation === "none") {
      const texts = {
        anchors: items.map(({ anchor }) => anchor),
        targets: items.map(({ target }) => target),
      };
      return { clean: drawn, mask: null, ...texts };
    }
    const placements = items.map(({ placement }) => placement);
    const placed = placePictures(colours(drawn.to({ device })), placements);
    const described = (text: string, phrase: string | null) => (phrase === null ? text : `${phrase} ${text}`);
    return {
      clean: await latentsOf(this.context.base, placed),
      mask: augmentation === "scale" ? placementMask(placements, this.frame, device) : null,
      anchors: items.map(({ anchor, placement }) => described(anchor, placement.phrase)),
      targets: items.map(({ target, placement }) => described(target, placement.phrase)),
    };
  }

  dispose(): void {
    this.held.dispose();
  }
}

/** Makes pictures with the base model, or finds those made before, counting and reporting as a run does. */
export async function makePictures(
  context: ErasureContext,
  items: readonly ImageSetItem[],
  {
    samplingSteps: steps,
    guidanceScale,
    cacheDirectory,
  }: Pick<AnchorPicturesOptions, "samplingSteps" | "guidanceScale" | "cacheDirectory">,
): Promise<ImageSet> {
  const { base, evaluations, signal, onPrepare } = context;
  const set = await generateImageSet(base, items, {
    directory: cacheDirectory === "" ? join(cacheFolder(), "images") : cacheDirectory,
    steps,
    guidanceScale,
    batchSize: TOGETHER,
    ...(signal === undefined ? {} : { signal }),
    ...(onPrepare === undefined
      ? {}
      : {
          onProgress: ({ done, total, etaSeconds }) =>
            onPrepare({ what: "picture", done, total, etaSeconds }),
        }),
  });
  const each =
    sampler(base.defaultSampler).timesteps(base.schedule, steps).length * (guidanceScale === 1 ? 1 : 2);
  evaluations.add(Math.ceil(set.generated / TOGETHER) * TOGETHER * each);
  return set;
}

/** Pictures as they are held: (N, 3, H, W) uint8, or encoded, (N, 4, h, w) float32. */
async function readPictures(context: ErasureContext, set: ImageSet, encoded: boolean): Promise<Tensor> {
  const { base, signal } = context;
  return scope(async () => {
    const parts: Tensor[] = [];
    for (let first = 0; first < set.length; first += TOGETHER) {
      throwIfAborted(signal);
      const part = await scope(async () => {
        const pictures: Tensor[] = [];
        for (let index = first; index < Math.min(first + TOGETHER, set.length); index++) {
          const { data, width, height } = await set.image(index);
          pictures.push(Tensor.from(data, [height, width, 3]).permute([2, 0, 1]));
        }
        const stacked = Tensor.stack(pictures);
        return encoded ? latentsOf(base, colours(stacked.to({ device: base.device }))) : stacked;
      });
      parts.push(part);
    }
    return Tensor.cat(parts).settled();
  });
}

/** Bytes to colours in [-1, 1]. */
function colours(pictures: Tensor): Tensor {
  return pictures.to("float32").div(127.5).sub(1);
}

/** The mean latents of pictures (B, 3, H, W) in [-1, 1], scaled for diffusion: (B, 4, h, w) float32. */
async function latentsOf(base: StableDiffusion, pictures: Tensor): Promise<Tensor> {
  const { mean } = await noGrad(() => base.vae.encode(pictures.to(base.dtype)));
  return mean.to("float32").mul(base.vae.config.scaling_factor);
}
