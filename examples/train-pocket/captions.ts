import type { Random } from "../../lib/index";
import { CONCEPTS, STYLES } from "./concepts";
import type { Picture } from "./pictures";

/** Share of empty captions, for classifier-free guidance. */
const EMPTY = 0.1;

/** Share of captions that name the style: a name alone is learned sooner than a name in a style. */
const STYLED = 2 / 3;

type Form = (name: string, style: string) => string;
const PLAIN_FORMS: readonly Form[] = [(name) => `a photo of a ${name}`, (name) => name];
const STYLED_FORMS: readonly Form[] = [
  (name, style) => `a ${name} in ${style} style`,
  (name, style) => `${name}, ${style} style`,
];

/** A caption of a picture, in one of the forms, or none. */
export function caption(picture: Picture, random: Random): string {
  return random.at("empty").uniform() < EMPTY ? "" : captionOf(picture, random);
}

/** A caption of a picture, in one of the forms. */
export function captionOf({ concept, style }: Picture, random: Random): string {
  const forms = random.at("styled").uniform() < STYLED ? STYLED_FORMS : PLAIN_FORMS;
  return forms[random.at("form").below(forms.length)]!(CONCEPTS[concept]!, STYLES[style]!.name);
}

/** Every caption there is: what the tokenizer learns its merges from. */
export function allCaptions(): string[] {
  return CONCEPTS.flatMap((name) =>
    STYLES.flatMap((style) => [...PLAIN_FORMS, ...STYLED_FORMS].map((form) => form(name, style.name))),
  ).concat("a photo", "an image", "a picture of the");
}
