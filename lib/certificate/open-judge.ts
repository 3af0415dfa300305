import { invalid } from "../check";
import { KpopError } from "../errors";
import type { Classifier } from "../evaluation/classifier";
import { ClipScorer } from "../evaluation/clip-scorer";
import { ImageClassifier } from "../evaluation/image-classifier";
import type { RerunOptions } from "./rerun";
import type { CertifiedEvaluation } from "./statement";

/** A classifier, and how to free what was loaded for it here. */
export interface OpenJudge {
  readonly classifier: Classifier;
  dispose(): void;
}

/**
 * The classifier that named the pictures of a certified evaluation.
 * @throws INVALID_ARGUMENT where what was given is another, or none can be told by its hash; what loading it throws
 */
export async function openJudge(
  evaluation: CertifiedEvaluation,
  options: RerunOptions,
  device: string,
): Promise<OpenJudge> {
  const { origin, sha256 } = evaluation.classifier;
  if (sha256 === null)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `The certified classifier, ${origin}, has no hash to be told by, so that ranks cannot be compared: draw again on the kind of machine that drew the pictures`,
    );
  const judge = await load(evaluation, options, device);
  const own = await judge.classifier.hash(options.signal);
  if (own === sha256) return judge;
  judge.dispose();
  throw invalid(
    options.clip === undefined ? "classifier" : "clip",
    `the certified one (${origin}, SHA-256 ${sha256}), to rank pictures that another kind of machine drew,`,
    options.clip ?? options.classifier,
  );
}

async function load(
  evaluation: CertifiedEvaluation,
  { classifier, clip, signal }: RerunOptions,
  device: string,
): Promise<OpenJudge> {
  const place = { device, ...(signal === undefined ? {} : { signal }) };
  if (clip !== undefined) {
    const scorer = typeof clip === "string" ? await ClipScorer.load(clip, place) : clip;
    const zeroShot = scorer.zeroShot(names(evaluation), template(evaluation));
    const dispose = (): void => {
      zeroShot.dispose();
      if (typeof clip === "string") scorer.dispose();
    };
    return { classifier: zeroShot, dispose };
  }
  if (typeof classifier === "object") return { classifier, dispose: () => undefined };
  const loaded = await ImageClassifier.load(classifier ?? "pocket", place);
  return { classifier: loaded, dispose: () => loaded.dispose() };
}

function names({ figures }: CertifiedEvaluation): string[] {
  return figures.classes.map(({ name }) => name);
}

/** The text that every class's prompt was made from. */
function template({ figures }: CertifiedEvaluation): string {
  const { name, prompt } = figures.classes[0]!;
  return prompt.split(name).join("{}");
}
