/** Captions to learn a token in, unless others are given: short, of a thing or a look, and silent on all else. */
export const INVERSION_TEMPLATES: readonly string[] = Object.freeze([
  "{}",
  "a {}",
  "a photo of a {}",
  "a photo of the {}",
  "a picture of a {}",
  "a picture of one {}",
  "an image of a {}",
  "a drawing of a {}",
  "a rendering of a {}",
  "a close-up of a {}",
  "a clear view of a {}",
  "the {}, seen whole",
  "a small {}",
  "a large {}",
  "a {} and nothing else",
  "this is a {}",
]);
