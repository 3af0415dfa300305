import { join } from "node:path";
import { generateImageSet, ImageClassifier, type StableDiffusion } from "../../lib/index";
import type { TrialContext } from "../cases/case";
import type { ClassCount } from "../results";

/**
 * What a model draws for the neutral prompt, by class: a concept turned wholly into the neutral prompt is still seen this
 * often, on the same noise.
 */
export async function countNeutral(context: TrialContext, model: StableDiffusion): Promise<ClassCount[]> {
  const { spec, settings, protocol, work } = context;
  const { steps, guidanceScale, seed } = settings;
  const items = Array.from({ length: spec.imagesPerClass }, (_, index) => ({
    prompt: protocol.tracking.neutral,
    seed: seed + index,
  }));
  const set = await generateImageSet(model, items, { directory: join(work, "images"), steps, guidanceScale });
  const images = [];
  for (let index = 0; index < set.length; index++) images.push(await set.image(index));
  using classifier = await ImageClassifier.load(settings.classifier);
  const rankings = await classifier.classify(images);
  return spec.preserved.map((name) => {
    const output = classifier.indexOf(name);
    const within = (k: number): number =>
      rankings.filter(({ indices }) => indices.slice(0, k).includes(output)).length;
    return { name, group: "preserved", images: images.length, hits: { 1: within(1), 5: within(5) } };
  });
}
