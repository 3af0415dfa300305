import { join } from "node:path";
import { ImageClassifier, type StableDiffusion } from "../../lib/index";
import type { TrialContext } from "../cases/case";
import type { ClassCount } from "../results";
import { drawAll } from "./pictures";

/**
 * What a model draws for the neutral prompt, by class: a concept turned wholly into the neutral prompt is still seen this
 * often, on the same noise.
 */
export async function countNeutral(context: TrialContext, model: StableDiffusion): Promise<ClassCount[]> {
  const { spec, settings, protocol, work } = context;
  const items = Array.from({ length: spec.imagesPerClass }, (_, index) => ({
    prompt: protocol.tracking.neutral,
    seed: settings.seed + index,
  }));
  const images = await drawAll(context, model, items, join(work, "images"));
  using classifier = await ImageClassifier.load(settings.classifier);
  const rankings = await classifier.classify(images);
  return spec.preserved.map((name) => {
    const output = classifier.indexOf(name);
    const within = (k: number): number =>
      rankings.filter(({ indices }) => indices.slice(0, k).includes(output)).length;
    return { name, group: "preserved", images: images.length, hits: { 1: within(1), 5: within(5) } };
  });
}
