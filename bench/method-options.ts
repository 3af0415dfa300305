import type { Protocol } from "./protocols/protocol";
import type { Settings } from "./results";

type Options = Record<string, unknown>;

/** Options of one of a method's tries in the search, those of all its trials included. */
export function candidateOptions(
  protocol: Protocol,
  settings: Settings,
  method: string,
  index: number,
): Options {
  const entrant = protocol.entrants[method];
  const base = entrant?.base ?? {};
  const { iterations, images } = protocol.quick;
  const fewer = settings.quick ? { iterations, images } : {};
  const known = Object.fromEntries(Object.entries(fewer).filter(([name]) => name in base));
  return merge(merge(base, known), entrant?.candidates[index]?.options ?? {});
}

/** Later options over earlier ones; groups of options are merged, not replaced. */
export function merge(base: Readonly<Options>, over: Readonly<Options>): Options {
  const result = { ...base };
  for (const [name, value] of Object.entries(over)) {
    const before = result[name];
    result[name] = isGroup(before) && isGroup(value) ? merge(before, value) : value;
  }
  return result;
}

function isGroup(value: unknown): value is Options {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
