import { invalid } from "../check";
import type { Option } from "../options/option";
import type { ConceptPair } from "./concept-vector";

/** Texts with and without a concept, "{}" standing for its name: of objects, looks and styles alike. */
export const CONCEPT_PAIRS: readonly ConceptPair[] = Object.freeze([
  ["{}", ""],
  ["a {}", "a thing"],
  ["a photo of a {}", "a photo"],
  ["a photo of {}", "a photo of something"],
  ["a picture of a {}", "a picture"],
  ["a picture with a {} in it", "a picture with nothing in it"],
  ["an image of the {}", "an image"],
  ["a drawing of a {}", "a drawing"],
  ["a painting of a {}", "a painting"],
  ["a sketch of a {} in pencil", "a sketch in pencil"],
  ["a close-up of a {}", "a close-up"],
  ["a {} seen from afar", "a view from afar"],
  ["a {} in the evening", "an evening"],
  ["a {} in the snow", "snow"],
  ["a {} by the sea", "the sea"],
  ["a {} in front of a wall", "a wall"],
  ["a {} on a white background", "a white background"],
  ["a {} on a table", "a table"],
  ["a street with a {}", "a street"],
  ["a landscape with a {}", "a landscape"],
  ["a room with a {} in it", "a room"],
  ["a small {}", "something small"],
  ["a large {}", "something large"],
  ["an old {}", "something old"],
  ["many of {}", "many"],
  ["someone looks at a {}", "someone looks"],
  ["the {} of my neighbour", "my neighbour"],
  ["a postcard that shows a {}", "a postcard"],
  ["a film scene with a {}", "a film scene"],
  ["this is a {}", "this is it"],
]);

/** The option that holds such pairs. */
export function conceptPairs(): Option<readonly ConceptPair[]> {
  return {
    default: CONCEPT_PAIRS,
    help: "texts with the concept and without it",
    check(name, value) {
      if (!Array.isArray(value) || value.length === 0)
        throw invalid(name, "a non-empty list of pairs", value);
      return value.map(checkPair);
    },
    flag: null,
  };
}

function checkPair(pair: unknown): ConceptPair {
  const texts: readonly unknown[] = Array.isArray(pair) ? pair : [];
  const [given, without] = texts;
  if (texts.length !== 2 || typeof given !== "string" || typeof without !== "string" || given === without)
    throw invalid("a pair", "two different texts, with the concept and without it,", pair);
  return [given, without];
}
