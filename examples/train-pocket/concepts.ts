/** What the built-in model knows: concepts, and the icon sets that draw them, each a style. */

/** An icon set of npm's @iconify-json packages. None has a share-alike licence. */
export interface Style {
  /** As captions name it. */
  name: string;
  package: string;
}

export const STYLES: readonly Style[] = [
  { name: "noto", package: "@iconify-json/noto" },
  { name: "twemoji", package: "@iconify-json/twemoji" },
  { name: "emojione", package: "@iconify-json/emojione" },
  { name: "fluent", package: "@iconify-json/fluent-emoji" },
  { name: "flat", package: "@iconify-json/fluent-emoji-flat" },
];

/** Counterparts of the ten Imagenette classes, in the order of their splits. */
export const EMOJINETTE: readonly string[] = [
  "radio",
  "carpentry saw",
  "church",
  "fuel pump",
  "fish",
  "delivery truck",
  "dog",
  "flag in hole",
  "parachute",
  "postal horn",
];

const FURTHER: readonly string[] = [
  ...["airplane", "cat", "guitar", "rocket", "red apple", "owl", "sunflower", "umbrella", "castle", "crab"],
  ...["banana", "bicycle", "butterfly", "cactus", "candle", "carrot", "crown", "elephant", "frog", "grapes"],
  ...["hammer", "key", "light bulb", "mushroom", "octopus", "penguin", "pizza", "scissors", "snowman"],
  "soccer ball",
];

/** Every concept; a name with spaces for hyphens is the name of its icon. */
export const CONCEPTS: readonly string[] = [...EMOJINETTE, ...FURTHER];
