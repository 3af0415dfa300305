import { join } from "node:path";
import { ClipScorer, ImageClassifier, type Image, type ImageSetItem } from "../../lib/index";
import { merge, styleOptions } from "../method-options";
import { eraseFor, loadModel } from "../measure/erasure";
import { drawAll } from "../measure/pictures";
import { ORIGINAL, type ClassCount, type Pair, type TrialOutcome, type TrialSpec } from "../results";
import { mean } from "../statistics";
import { trialSpec, type Case, type PlanContext, type TrialContext } from "./case";

/** Table 4: one style erased at a time. A trial's classes are styles here, and pictures show objects in them. */
export const styles: Case = { trials, measure };

function trials({ protocol, settings, optionsOf }: PlanContext): TrialSpec[] {
  if (protocol.styles === null) return [];
  const names = settings.styles;
  const erased = settings.quick ? names.slice(0, 1) : names;
  const rows = settings.quick ? settings.methods.slice(0, 2) : settings.methods;
  return [ORIGINAL, ...rows].flatMap((method) =>
    erased.map((style) =>
      trialSpec({
        name: `styles-${method}-${fileName(style)}`,
        experiment: "styles",
        method,
        label: style,
        options: method === ORIGINAL ? {} : merge(optionsOf(method), styleOptions(protocol, method)),
        erased: [style],
        preserved: names.filter((name) => name !== style),
        imagesPerClass: Math.ceil(settings.imagesPerClass / 10),
      }),
    ),
  );
}

function fileName(style: string): string {
  return style.toLowerCase().replace(/[^a-z0-9]+/g, "-");
}

/** A picture to be made, and what it is to show. */
interface Wanted extends ImageSetItem {
  style: string;
  object: string;
  group: ClassCount["group"];
}

async function measure(context: TrialContext): Promise<TrialOutcome> {
  const { spec, settings, protocol, shared, work } = context;
  const { concept } = protocol.styles!;
  const wanted = listPictures(context);
  using original = await loadModel(settings);
  const before = await drawAll(context, original, wanted, shared);
  using subject = await eraseFor(context, spec.erased.map((style) => concept.replace("{}", style)));
  const images =
    spec.method === ORIGINAL ? before : await drawAll(context, subject.model, wanted, join(work, "images"));
  const cost = subject.cost === undefined ? {} : { cost: subject.cost };
  return {
    ...cost,
    ...(settings.styleClassifier === null
      ? {}
      : { counts: await count(settings.styleClassifier, images, wanted, "style") }),
    content: await count(settings.classifier, images, wanted, "object"),
    difference: groupMeans(wanted, differences(before, images)),
    ...(settings.clip === null ? {} : { clipScore: groupMeans(wanted, await clipScores(settings.clip, images, wanted)) }),
  };
} // prettier-ignore

function listPictures({ spec, settings, protocol }: TrialContext): Wanted[] {
  const { objects, prompt } = protocol.styles!;
  return settings.styles.flatMap((style) =>
    objects.flatMap((object) =>
      Array.from({ length: spec.imagesPerClass }, (_, index) => ({
        style,
        object,
        group: spec.erased.includes(style) ? ("erased" as const) : ("preserved" as const),
        prompt: prompt.replace("{style}", style).replace("{}", object),
        seed: settings.seed + index,
      })),
    ),
  );
}

/** How often a classifier sees what was asked for, by that thing and its style's group. */
async function count(
  path: string,
  images: readonly Image[],
  wanted: readonly Wanted[],
  asked: "style" | "object",
): Promise<ClassCount[]> {
  using classifier = await ImageClassifier.load(path);
  const rankings = await classifier.classify(images);
  const counts = new Map<string, ClassCount>();
  wanted.forEach((of, index) => {
    const id = `${of.group} ${of[asked]}`;
    const entry = counts.get(id) ?? { name: of[asked], group: of.group, images: 0, hits: { 1: 0 } };
    entry.images += 1;
    if (rankings[index]!.indices[0] === classifier.indexOf(of[asked]))
      entry.hits["1"] = (entry.hits["1"] ?? 0) + 1;
    counts.set(id, entry);
  });
  return [...counts.values()];
}

async function clipScores(
  path: string,
  images: readonly Image[],
  wanted: readonly Wanted[],
): Promise<number[]> {
  using scorer = await ClipScorer.load(path);
  return await scorer.score(
    images,
    wanted.map(({ prompt }) => prompt),
  );
}

/** Root mean square differences of pixels, where 1 is full. */
function differences(before: readonly Image[], after: readonly Image[]): number[] {
  return before.map(({ data }, index) => {
    const other = after[index]!.data;
    let sum = 0;
    for (let i = 0; i < data.length; i++) sum += (data[i]! - other[i]!) ** 2;
    return Math.sqrt(sum / data.length) / 255;
  });
}

function groupMeans(wanted: readonly Wanted[], values: readonly number[]): Pair {
  const of = (group: ClassCount["group"]): number =>
    mean(values.filter((_, index) => wanted[index]!.group === group));
  return { erased: of("erased"), preserved: of("preserved") };
}
