import type { ImageSetItem } from "../../diffusion/image-set";
import type { PictureOptions, PictureSet } from "../../diffusion/make-pictures";
import { colours, latentsOf } from "../../diffusion/picture-latents";
import { throwIfAborted } from "../../errors";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import type { CaptionPair } from "./caption-pairs";
import { drawPlacement, placementMask, placePictures, type Frame } from "./placement";

/** How pictures of anchors are made, and what is done to them. */
export interface AnchorPicturesOptions extends PictureOptions {
  /** Pictures of each concept's anchor; at least as many as it has captions. */
  images: number;
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

/**
 * Pictures that the model draws of anchors, made once and kept on disk, for CA to train on. Picture i of a caption
 * starts from the noise of seed i whatever the run's seed, so that runs share them.
 */
export class AnchorPictures {
  private constructor(
    private readonly job: ErasureJob,
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
    job: ErasureJob,
    captions: readonly (readonly CaptionPair[])[],
    options: AnchorPicturesOptions,
  ): Promise<AnchorPictures> {
    const { base } = job;
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
    const set = await job.pictures(items, options);
    const held = await readPictures(job, set, options.augmentation === "none");
    return new AnchorPictures(job, options, uses, held, {
      size: base.imageSize,
      cell: base.vae.downsampling,
    });
  }

  /** Pictures drawn for an iteration, the concepts taking turns. */
  async next(iteration: number): Promise<AnchorBatch> {
    const { batchSize, augmentation } = this.options;
    const { device } = this.job.base;
    const items = Array.from({ length: batchSize }, (_, item) => {
      const uses = this.uses[(iteration * batchSize + item) % this.uses.length]!;
      const random = this.job.random.at("anchor", iteration, item);
      const { picture, pair } = uses[random.at("picture").below(uses.length)]!;
      const target = pair.targets[random.at("target").below(pair.targets.length)]!;
      const placement = drawPlacement(random, this.frame, augmentation === "scale");
      return { picture, anchor: pair.anchor, target, placement };
    });
    const drawn = this.held.rows(items.map(({ picture }) => picture));
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
      clean: await latentsOf(this.job.base, placed),
      mask: augmentation === "scale" ? placementMask(placements, this.frame, device) : null,
      anchors: items.map(({ anchor, placement }) => described(anchor, placement.phrase)),
      targets: items.map(({ target, placement }) => described(target, placement.phrase)),
    };
  }
}

/** Pictures as they are held: (N, 3, H, W) uint8, or encoded, (N, 4, h, w) float32. */
async function readPictures(job: ErasureJob, set: PictureSet, encoded: boolean): Promise<Tensor> {
  const indices = Array.from({ length: set.length }, (_, index) => index);
  if (encoded) {
    const paths = indices.map((index) => set.path(index));
    return job.pictureLatents(paths);
  }
  return scope(async () => {
    const pictures: Tensor[] = [];
    for (const index of indices) {
      throwIfAborted(job.signal);
      const { data, width, height } = await set.image(index);
      pictures.push(Tensor.from(data, [height, width, 3]).permute([2, 0, 1]));
    }
    return Tensor.stack(pictures).settled();
  });
}
