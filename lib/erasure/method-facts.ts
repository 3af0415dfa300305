import { changedBy, parseOptions, type Method } from "./method";

/** What lists tell of a method. */
export interface MethodFacts extends Pick<
  Method,
  "name" | "title" | "short" | "reference" | "kind" | "cost"
> {
  /** By default: the network, and which of its weights; null where no weight changes. */
  readonly changes: { readonly network: string; readonly parameters: string } | null;
  /** What it leaves beside the weights: artefacts, of a concept called "concept", and "intervention", which the folder holds. */
  readonly leaves: readonly string[];
}

/** A method as its definition and its defaults have it. */
export function methodFacts(method: Method): MethodFacts {
  const { name, title, short, reference, kind, cost } = method;
  const about = { concepts: ["concept"] };
  const changes = changedBy(method, parseOptions(method, {}, about));
  return {
    ...{ name, title, short, reference, kind, cost },
    changes: changes === null ? null : { ...changes, parameters: described(changes.parameters) },
    leaves: [
      ...(method.artefacts?.(about.concepts) ?? []),
      ...(kind === "inference" ? ["intervention"] : []),
    ],
  };
}

/** A group's name or a pattern, as --parameters takes it. */
function described(selector: string | RegExp | ((name: string) => boolean)): string {
  return typeof selector === "function" ? "those that its options name" : String(selector);
}
