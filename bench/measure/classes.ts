import { join } from "node:path";
import { evaluate, type PromptKey, type StableDiffusion } from "../../lib/index";
import type { TrialContext } from "../cases/case";
import type { ClassCount } from "../results";
import { keyFor } from "./pictures";

/**
 * How often each class of a trial is seen in pictures made for it.
 * @param key put to every prompt, each concept's own part to it, the first part to other classes
 */
export async function countClasses(
  context: TrialContext,
  model: StableDiffusion,
  key?: PromptKey,
): Promise<ClassCount[]> {
  const { spec } = context;
  const groups = [
    { group: "erased", names: spec.erased },
    { group: "preserved", names: spec.preserved },
  ] as const;
  const counts: ClassCount[] = [];
  for (const { group, names } of groups) {
    if (names.length === 0) continue;
    const used = key === undefined || group === "erased" ? key : keyFor(key, "");
    counts.push(...(await countGroup(context, model, names, group, used)));
  }
  return counts;
}

async function countGroup(
  { spec, settings, protocol, work, log }: TrialContext,
  model: StableDiffusion,
  names: readonly string[],
  group: ClassCount["group"],
  key: PromptKey | undefined,
): Promise<ClassCount[]> {
  const { classifier, steps, guidanceScale, seed } = settings;
  const evaluation = await evaluate(model, {
    [group]: names,
    classifier,
    prompt: protocol.prompt,
    imagesPerClass: spec.imagesPerClass,
    seed,
    steps,
    guidanceScale,
    topK: [1, 5],
    ...(key === undefined ? {} : { key }),
    cacheDirectory: join(work, "images"),
    onProgress: ({ phase, etaSeconds, total }) => {
      if (phase === "estimate") log(`${total} pictures, about ${Math.ceil(etaSeconds)} s`);
    },
  });
  return evaluation.classes.map(({ name, rates }) => {
    const entries = Object.entries(rates).map(([k, { hits, total }]) => [
      k,
      group === "erased" ? total - hits : hits,
    ]);
    return {
      name,
      group,
      images: spec.imagesPerClass,
      hits: Object.fromEntries(entries) as ClassCount["hits"],
    };
  });
}
