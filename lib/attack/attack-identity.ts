import { contentOf, modelIdentity, optionsIdentity } from "../diffusion/identity";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { Image } from "../io/image";
import type { Complete, OptionSet } from "../options/option";
import type { ParsedAttackOptions } from "./attack-options";
import type { AttackMethod } from "./method";

type Identity = Readonly<Record<string, unknown>>;

/** What an attack is made of. */
export interface AttackSubject {
  readonly method: AttackMethod;
  readonly own: Complete<OptionSet>;
  readonly o: ParsedAttackOptions;
  readonly model: StableDiffusion;
  readonly original: StableDiffusion | null;
}

/** All that searches depend on. @param images what they learn from @throws NOT_FOUND, IO_ERROR, ABORTED */
export async function searchIdentity(
  subject: AttackSubject,
  images: readonly (Image | string)[],
): Promise<Identity> {
  return { ...(await common(subject)), pictures: await contentOf(await loaded(images)) };
}

/** All that the shards of an attack have in common, before the original has drawn a picture. */
export async function shardsIdentity(subject: AttackSubject): Promise<Identity> {
  const { images, pictures, imagesPerInput } = subject.o;
  return {
    ...(await common(subject)),
    original: await originalIdentity(subject),
    imagesPerInput,
    ...(images === undefined ? { pictures } : { images: await contentOf(await loaded(images)) }),
  };
}

/** The model before the erasure; null where none is given. */
export async function originalIdentity({ original, o }: AttackSubject): Promise<Identity | null> {
  return original === null ? null : await modelIdentity(original, o.run.signal);
}

async function common({ method, own, o, model }: AttackSubject): Promise<Identity> {
  const { concept, prompt, drawing, run } = o;
  return {
    model: await modelIdentity(model, run.signal),
    options: await optionsIdentity(method.options, own),
    ...{ method: method.name, concept, prompt, drawing, seed: run.seed },
  };
}

async function loaded(images: readonly (Image | string)[]): Promise<Image[]> {
  const all: Image[] = [];
  for (const image of images) all.push(image instanceof Image ? image : await Image.load(image));
  return all;
}
