import { generateImageSet, Image, type ImageSetItem, type PromptKey, type StableDiffusion } from "../../lib/index"; // prettier-ignore
import type { TrialContext } from "../cases/case";
import type { Picture } from "../results";

/** Side of the report's pictures in pixels at most. */
const SIDE = 128;

/** A picture for each class of the protocol, the same noise for every method; with the key, of the erased ones again. */
export async function drawPictures(
  { protocol, spec, settings }: TrialContext,
  model: StableDiffusion,
  key: PromptKey | undefined,
): Promise<Picture[]> {
  const pictures: Picture[] = [];
  for (const [place, name] of protocol.classes.entries()) {
    const group = spec.erased.includes(name) ? "erased" : "preserved";
    const prompt = protocol.prompt.replace("{}", name);
    const seed = settings.seed + place;
    const keys = key === undefined ? [undefined] : [undefined, keyFor(key, name)];
    for (const used of keys) {
      const [image] = await model.generate(prompt, {
        seed,
        steps: settings.steps,
        guidanceScale: settings.guidanceScale,
        ...(used === undefined ? {} : { key: used }),
      });
      const png = (await thumbnail(image!).png()).toString("base64");
      pictures.push({ prompt, group, withKey: used !== undefined, seed, png });
    }
  }
  return pictures;
}

/** One picture for each item, which a folder keeps. */
export async function drawAll(
  { settings }: Pick<TrialContext, "settings">,
  model: StableDiffusion,
  items: readonly ImageSetItem[],
  directory: string,
): Promise<Image[]> {
  const { steps, guidanceScale } = settings;
  const wanted = items.map(({ prompt, seed }) => ({ prompt, seed }));
  const set = await generateImageSet(model, wanted, { directory, steps, guidanceScale });
  const images: Image[] = [];
  for (let index = 0; index < set.length; index++) images.push(await set.image(index));
  return images;
}

/** The part of a key that belongs to a concept; the first part for what it does not know. */
export function keyFor(key: PromptKey, name: string): PromptKey {
  return key.select(key.concepts.includes(name) ? name : key.concepts[0]!);
}

/** A picture of at most SIDE pixels: means of whole blocks, so that nothing is invented. */
export function thumbnail(image: Image): Image {
  const factor = Math.ceil(Math.max(image.width, image.height) / SIDE);
  if (factor === 1) return image;
  const [width, height] = [Math.floor(image.width / factor), Math.floor(image.height / factor)];
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let dy = 0; dy < factor; dy++) {
          for (let dx = 0; dx < factor; dx++)
            sum += image.data[((y * factor + dy) * image.width + x * factor + dx) * 3 + channel]!;
        }
        data[(y * width + x) * 3 + channel] = Math.round(sum / factor ** 2);
      }
    }
  }
  return new Image(width, height, data);
}
