import { entrantOf, keptBy, knownTo, methodOf, type Options } from "./entrants";
import type { Candidate, Entrant, Protocol } from "./protocols/protocol";
import type { Settings } from "./results";

/** Learning rates that are tried where a protocol names no tries, over the method's own: that one first. */
const RATES = [1, 0.5, 2, 4];

/** A method's tries in the search: the protocol's, else its own learning rate and others, else what it is alone. */
export function candidatesOf(protocol: Protocol, method: string): readonly Candidate[] {
  const named = entrantIn(protocol, method).candidates;
  if (named !== undefined) return named;
  const { learningRate } = baseOf(protocol, method);
  if (typeof learningRate !== "number") return [{ label: "defaults", options: {} }];
  const rates = RATES.map((factor) => Number((factor * learningRate).toPrecision(2)));
  return rates.map((rate) => ({ label: `rate ${rate.toExponential()}`, options: { learningRate: rate } }));
}

/** Which of a row's tries are made, by place: in a quick run the last one alone. */
export function triesOf(protocol: Protocol, { quick }: Settings, method: string): readonly number[] {
  const all = candidatesOf(protocol, method).map((_, place) => place);
  return quick ? all.slice(-1) : all;
}

/** Options of one of a row's tries in the search: those of all its trials, and what its row keeps, included. */
export function candidateOptions(
  protocol: Protocol,
  settings: Settings,
  method: string,
  index: number,
): Options {
  const { iterations, images } = protocol.quick;
  const fewer = settings.quick ? knownTo(method, { iterations, images }) : {};
  const base = merge(merge(baseOf(protocol, method), fewer), keptBy(method));
  return merge(base, candidatesOf(protocol, method)[index]?.options ?? {});
}

/** What a method is told beside the chosen options where it erases a style. */
export function styleOptions(protocol: Protocol, method: string): Options {
  const shared = knownTo(method, protocol.styles?.options ?? {});
  return merge(shared, entrantIn(protocol, method).styles ?? {});
}

/** What a protocol says of a row: of itself, else of its method. */
function entrantIn({ entrants }: Protocol, row: string): Entrant {
  return entrants[row] ?? entrants[methodOf(row)] ?? {};
}

/** Options of every trial: the protocol's, else the registry's where they are for its model, else the defaults. */
function baseOf(protocol: Protocol, method: string): Options {
  const registered = protocol.name === "pocket" ? entrantOf(method) : false;
  return entrantIn(protocol, method).base ?? (registered === false ? {} : registered);
}

/** Later options over earlier ones; groups of options are merged, not replaced. */
export function merge(base: Options, over: Options): Record<string, unknown> {
  const result = { ...base };
  for (const [name, value] of Object.entries(over)) {
    const before = result[name];
    result[name] = isGroup(before) && isGroup(value) ? merge(before, value) : value;
  }
  return result;
}

function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
