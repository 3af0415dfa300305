import { invalid } from "../check";
import { KpopError } from "../errors";

/** Groups of UNet parameters by the key, after the scripts of ESD (arXiv 2303.07345) and of CA (arXiv 2303.13516), under
 *  diffusers' keys. */
const groups = Object.freeze({
  xattn: (name: string) => name.includes("attn2"),
  "xattn-kv": (name: string) => /attn2\.to_[kv]/.test(name),
  "xattn-v": (name: string) => /attn2\.to_v/.test(name),
  attn: (name: string) => /\.to_(?:[qkv]|out)\b/.test(name),
  noxattn: (name: string) => !/^conv_out\.|^conv_norm_out\.|attn2|time_embed/.test(name),
  selfattn: (name: string) => name.includes("attn1"),
  full: () => true,
  notime: (name: string) => !/^conv_out\.|^conv_norm_out\.|time_embed/.test(name),
  xlayer: (name: string) => /up_blocks\.2\.attentions\.[02]\..*attn2/.test(name),
  selflayer: (name: string) => /down_blocks\.[12]\.attentions\.0\..*attn1/.test(name),
  "esd-x": (name: string) => name.includes("attn2"),
  "esd-x-strict": (name: string) => /attn2\.to_[kv]/.test(name),
  // Modules are linear, convolutional or norms, and norms alone are called so.
  "esd-u": (name: string) => !/attn2|(^|\.)(norm\d?|conv_norm_out)\.(weight|bias)$/.test(name),
  "ff-out": (name: string) => /\.ff\.net\.2\.weight$/.test(name),
});

/**
 * Which UNet parameters a method may change, by key:
 * - "xattn": cross-attention (attn2)
 * - "xattn-kv", "xattn-v": the key and value projections of cross-attention, or the latter alone
 * - "attn": the query, key, value and output projections of all attention, as in CA
 * - "selfattn": self-attention (attn1)
 * - "noxattn": all but cross-attention, the time embedding and the output head; the ESD paper's ESD-u
 * - "full": everything
 * - "notime": all but the time embedding and the output head
 * - "xlayer": cross-attention in the first and third transformer of the third block on the way up
 * - "selflayer": self-attention in the first transformer of the second and third block on the way down
 * - "esd-x", "esd-x-strict": as "xattn", "xattn-kv"
 * - "esd-u": every linear and convolutional layer but those of cross-attention, as in ESD's script for diffusers; no
 *   norms, but the time embedding and the output layer, unlike "noxattn"
 * - "ff-out": the second weight matrix of each feed-forward block
 * - a pattern, or a function of the key
 *
 * @useDeclaredType
 */
export type ParameterSelector = keyof typeof groups | RegExp | ((name: string) => boolean);

/**
 * The keys that a selector stands for, in the given order.
 * @throws INVALID_ARGUMENT when the selector is unknown or selects nothing
 */
export function selectParameters(selector: ParameterSelector, names: readonly string[]): string[] {
  const test = checkSelector(selector);
  const selected = names.filter((name) => test(name));
  if (selected.length === 0) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected parameters to select at least one of the ${names.length} parameters but ${String(selector)} selects none`,
    );
  }
  return selected;
}

/** A selector as a function of the key. @throws INVALID_ARGUMENT when it is unknown */
export function checkSelector(selector: unknown): (name: string) => boolean {
  if (typeof selector === "function") return selector as (name: string) => boolean;
  if (selector instanceof RegExp) {
    const pattern = new RegExp(selector.source, selector.flags.replace(/[gy]/g, ""));
    return (name) => pattern.test(name);
  }
  if (typeof selector !== "string" || !Object.hasOwn(groups, selector))
    throw invalid("parameters", `${Object.keys(groups).join(", ")}, a pattern or a function`, selector);
  return groups[selector as keyof typeof groups];
}
