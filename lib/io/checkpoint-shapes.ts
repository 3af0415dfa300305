import { KpopError } from "../errors";

/** Compares the tensors that a network needs with those that a checkpoint has.
 *  @param expected shape of every parameter, by key
 *  @param ignore keys that may be there without being needed
 *  @param what the checkpoint and network, for the error; default "The checkpoint"
 *  @throws INVALID_CHECKPOINT, with counts and the first five of each kind of fault */
export function compareShapes(
  expected: Readonly<Record<string, readonly number[]>>,
  actual: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  ignore: readonly RegExp[] = [],
  what = "The checkpoint",
): void {
  const missing = Object.keys(expected).filter((key) => !actual.has(key));
  const unexpected = [...actual.keys()].filter(
    (key) => !Object.hasOwn(expected, key) && !ignore.some((pattern) => pattern.test(key)),
  );
  const wrong = Object.entries(expected).flatMap(([key, shape]) => {
    const found = actual.get(key)?.shape;
    if (found === undefined || found.join() === shape.join()) return [];
    return [`${key} (expected [${shape.join(", ")}] but received [${found.join(", ")}])`];
  });
  const faults = [
    list("missing", missing),
    list("unexpected", unexpected),
    list("wrongly shaped", wrong),
  ].filter((fault) => fault !== "");
  if (faults.length === 0) return;
  throw new KpopError("INVALID_CHECKPOINT", `${what} does not fit its configuration: ${faults.join("; ")}`);
}

function list(kind: string, names: readonly string[]): string {
  if (names.length === 0) return "";
  const more = names.length > 5 ? ", ..." : "";
  return `${names.length} ${names.length === 1 ? "tensor" : "tensors"} ${kind}: ${names.slice(0, 5).join(", ")}${more}`;
}
