import type { Options } from "./entrants";

/** One of KPOP's runs whose cost is measured at full size. */
export interface KpopForm {
  title: string;
  options: Options & { method: "kpop" };
  /** Whether the peer's script does the same work. */
  peer: boolean;
}

/** All that the paper fixes beside the prompt. */
const PUBLISHED = { parameters: "xattn", target: "neutral", templates: ["{}"] };

/** KPOP with its prompt as published, with the other form and all else equal, and as it is by default. */
export const KPOP_FORMS: Readonly<Record<string, KpopForm>> = {
  "kpop-free": {
    title: "KPOP, free prompt",
    options: {
      method: "kpop",
      neighbours: "off",
      prompt: { form: "free", mechanism: "concat", size: 10, layers: "mid" },
      ...PUBLISHED,
    },
    peer: true,
  },
  "kpop-amortised": {
    title: "KPOP, amortised prompt",
    options: { method: "kpop", neighbours: "off", prompt: { form: "amortised" }, ...PUBLISHED },
    peer: false,
  },
  "kpop-neighbours": {
    title: "KPOP as it is by default",
    options: { method: "kpop", neighbours: "nearest" },
    peer: false,
  },
};
