import { invalid } from "../../check";
import { noisyLatents, type NoisyLatents } from "../../diffusion/noisy-latents";
import { checkPictures } from "../../diffusion/picture-latents";
import type { Image } from "../../io/image";
import { flag } from "../../options/kinds";
import type { Complete, Option } from "../../options/option";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import { pictures as generated } from "./picture-options";

type Given = Readonly<Record<string, readonly (Image | string)[]>>;

const given: Option<Given> = {
  default: {},
  help: "pictures by concept",
  check(name, value, { concepts }) {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw invalid(name, "an object of lists of pictures by concept", value);
    for (const [concept, images] of Object.entries(value)) {
      if (!concepts.includes(concept))
        throw invalid(name, `pictures of ${concepts.map((c) => JSON.stringify(c)).join(", ")}`, concept);
      checkPictures(images);
    }
    return value as Given;
  },
  files: true,
  flag: null,
};

/** Options of methods that learn from pictures of the concept itself. */
export function conceptPictures() {
  return {
    /** Pictures by concept, to train on in place of generated ones: Image objects, or paths of picture files. Default none. */
    pictures: given,
    ...generated(),
    /** Whether every other picture is mirrored, left to right. Default true. */
    mirror: flag(true, "train on pictures as they are"),
  };
}

/** `conceptPictures()`, complete. */
export type ConceptPictureOptions = Complete<ReturnType<typeof conceptPictures>>;

/** Pictures of a concept, and what they are called. */
export class ConceptPictures {
  private constructor(
    private readonly job: ErasureJob,
    private readonly concept: string,
    readonly images: readonly (Image | string)[],
    /** (N, 4, h, w) float32; with mirror images behind the pictures. */
    private readonly latents: Tensor,
    /** Captions of each, one of which is drawn. */
    private readonly captions: readonly (readonly string[])[],
  ) {}

  /**
   * Those given, else those that the model makes of the concept's templates.
   * @param others captions in place of the templates; "{}" may be missing. Default none
   */
  static async create(
    job: ErasureJob,
    o: ConceptPictureOptions,
    concept: string,
    others: readonly string[] = [],
  ): Promise<ConceptPictures> {
    const named = (some: readonly string[]): string[] =>
      some.map((text) => text.replaceAll("{}", () => concept));
    const names = named(o.templates);
    const captions = others.length > 0 ? named(others) : null;
    const encode = (images: readonly (Image | string)[]) => scope(() => job.pictureLatents(images, o.mirror));
    const own = o.pictures[concept];
    if (own !== undefined) {
      const latents = await encode(own);
      const each = Array.from({ length: latents.shape[0]! }, () => captions ?? names);
      return new ConceptPictures(job, concept, own, latents, each);
    }
    const items = Array.from({ length: o.images }, (_, i) => ({ prompt: names[i % names.length]!, seed: i }));
    const set = await job.pictures(items, o);
    const paths = items.map((_, i) => set.path(i));
    const latents = await encode(paths);
    const each = items.map(({ prompt }) => captions ?? [prompt]);
    return new ConceptPictures(job, concept, paths, latents, o.mirror ? [...each, ...each] : each);
  }

  /** Latents of one of equal parts of the pictures, and of their mirror images. @param part from 0 */
  share(part: number, parts: number): Tensor {
    const count = this.images.length;
    const length = Math.max(1, Math.floor(count / parts));
    const own = Array.from({ length }, (_, i) => (part * length + i) % count);
    const mirrored = this.latents.shape[0]! > count ? own.map((picture) => picture + count) : [];
    return this.latents.rows([...own, ...mirrored]);
  }

  /** Noisy pictures with captions. They depend on the concept's name, not on which concepts it is erased with. */
  batch(iteration: number, size: number): NoisyLatents & { readonly captions: readonly string[] } {
    // The label of the first method that had them: another would be other draws of the same seed.
    const own = this.job.random.at("task-vector", this.concept, iteration);
    const draws = Array.from({ length: size }, (_, item) => own.at("item", item));
    const chosen = draws.map((draw) => draw.at("picture").below(this.captions.length));
    const noisy = noisyLatents(this.job.base.schedule, this.latents.rows(chosen), own.at("noise"));
    const captions = chosen.map((picture, item) => {
      const names = this.captions[picture]!;
      return names[draws[item]!.at("caption").below(names.length)]!;
    });
    return { ...noisy, captions };
  }
}
