import { invalid } from "../check";
import { KpopError } from "../errors";

/**
 * Which UNet parameters a method may change, by key:
 * - "xattn": cross-attention (attn2)
 * - "xattn-kv": the key and value projections of cross-attention
 * - "selfattn": self-attention (attn1)
 * - "noxattn": all but cross-attention, the time embedding and the output head
 * - "full": everything
 * - a pattern, or a function of the key
 *
 * The rules are those of ESD (arXiv 2303.07345) under diffusers' keys.
 */
export type ParameterSelector =
  "xattn" | "xattn-kv" | "noxattn" | "selfattn" | "full" | RegExp | ((name: string) => boolean);

const named: Readonly<Record<string, (name: string) => boolean>> = Object.freeze({
  xattn: (name) => name.includes("attn2"),
  "xattn-kv": (name) => name.includes("attn2.to_k") || name.includes("attn2.to_v"),
  noxattn: (name) => !/^conv_out\.|^conv_norm_out\.|attn2|time_embed/.test(name),
  selfattn: (name) => name.includes("attn1"),
  full: () => true,
});

/**
 * The keys that a selector stands for, in the given order.
 * @throws INVALID_ARGUMENT when the selector is unknown or selects nothing
 */
export function selectParameters(selector: ParameterSelector, names: readonly string[]): string[] {
  const test = predicate(selector);
  const selected = names.filter((name) => test(name));
  if (selected.length === 0) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected parameters to select at least one of the ${names.length} parameters but ${String(selector)} selects none`,
    );
  }
  return selected;
}

function predicate(selector: ParameterSelector): (name: string) => boolean {
  if (typeof selector === "function") return selector;
  if (selector instanceof RegExp) {
    const pattern = new RegExp(selector.source, selector.flags.replace(/[gy]/g, ""));
    return (name) => pattern.test(name);
  }
  const test = Object.hasOwn(named, selector) ? named[selector] : undefined;
  if (test === undefined)
    throw invalid("parameters", `${Object.keys(named).join(", ")}, a pattern or a function`, selector);
  return test;
}
