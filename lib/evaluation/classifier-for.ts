import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { KpopError } from "../errors";
import { isBuiltIn } from "../io/model-path";
import type { Classifier } from "./classifier";
import { ImageClassifier } from "./image-classifier";

/** A classifier, and whether it was loaded here, for the caller to dispose of. */
export interface OpenClassifier {
  readonly classifier: Classifier;
  readonly owned: boolean;
}

/**
 * The classifier that was given, loaded where it is a path; without one the built-in one, for the built-in models.
 * @param options.alternative what the caller takes in its place, for the message
 * @throws INVALID_ARGUMENT when there is none; what `ImageClassifier.load` throws
 */
export async function classifierFor(
  model: StableDiffusion,
  given: Classifier | string | undefined,
  { signal, alternative }: { signal: AbortSignal | undefined; alternative?: string },
): Promise<OpenClassifier> {
  if (typeof given === "object") return { classifier: given, owned: false };
  const path = given ?? (isBuiltIn(model.source.path) ? "pocket" : undefined);
  if (path === undefined) {
    const [wanted, received] = alternative === undefined ? ["", "none"] : [` or ${alternative}`, "neither"];
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected a classifier${wanted} to look at the pictures with but received ${received}; "pocket" as the classifier is the one for models made from pocket`,
    );
  }
  const options = { device: model.device, ...(signal === undefined ? {} : { signal }) };
  return { classifier: await ImageClassifier.load(path, options), owned: true };
}
