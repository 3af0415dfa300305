/**
 * The erasure methods as the benchmark knows them: the one place that asks the registry. A method that is registered takes
 * part when it is asked for by name; what is said of it here makes it one of those that are compared by default.
 */
import { METHOD_NAMES, methodNamed } from "../lib/internal";
import { ORIGINAL } from "./results";

export { METHOD_NAMES };

/** Options of a method, by name. */
export type Options = Readonly<Record<string, unknown>>;

/** What a method's definition tells the benchmark. */
interface Entry {
  /** As the papers write it. */
  title: string;
  /** What it is run with on pocket; false for a method that is not compared unless it is asked for. */
  entrant: Options | false;
}

/** Every trained method names a concept in both ways that the pictures are asked for. */
const TEMPLATES = ["{}", "a photo of a {}"];
const TRAINED = { iterations: 200, templates: TEMPLATES };

const ENTRIES: Readonly<Record<string, Entry>> = {
  kpop: {
    title: "KPOP",
    // Through the middle layer alone the key brings little back after so few iterations: see the ablation.
    entrant: { ...TRAINED, prompt: { layers: "all", perConcept: true }, promptLearningRate: 5e-2 },
  },
  esd: { title: "ESD", entrant: TRAINED },
  uce: { title: "UCE", entrant: { templates: TEMPLATES } },
  ca: {
    title: "CA",
    // Centred pictures of one size are all that the model knows, so none are scaled.
    entrant: {
      iterations: 100,
      anchor: "thing",
      templates: TEMPLATES,
      images: 64,
      samplingSteps: 15,
      guidanceScale: 3,
      augment: false,
    },
  },
  "task-vector": { title: "Task vector", entrant: false },
};

/** The methods that are compared by default, in the registry's order. */
export const COMPARED = METHOD_NAMES.filter((method) => entrantOf(method) !== false);

/** What a method is run with on pocket; false where its definition says nothing. */
export function entrantOf(method: string): Options | false {
  return ENTRIES[method]?.entrant ?? false;
}

/** A method's name as the papers write it. */
export function titleOf(method: string): string {
  return method === ORIGINAL ? "Original" : (ENTRIES[method]?.title ?? method);
}

/** A method's place in the registry, by which it has its colour and shape; null for what is not registered. */
export function placeOf(method: string): number | null {
  const place = METHOD_NAMES.indexOf(method);
  return place < 0 ? null : place;
}

/** Every option of a method's own with its default. */
export function defaultsOf(method: string): Options {
  return methodNamed(method).defaults;
}

/** Those of some options that a method has. */
export function knownTo(method: string, options: Options): Options {
  const defaults = defaultsOf(method);
  return Object.fromEntries(Object.entries(options).filter(([name]) => name in defaults));
}
