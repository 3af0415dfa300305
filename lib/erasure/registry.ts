import { oneOf } from "../check";
import type { ErasureMethod, MethodOptions } from "./method";
import { ca } from "./methods/ca";
import { esd } from "./methods/esd";
import { kpop } from "./methods/kpop";
import { taskVector } from "./methods/task-vector";
import { uce } from "./methods/uce";

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- each method has options of its own
type AnyMethod = ErasureMethod<any>;

const METHODS: readonly AnyMethod[] = [kpop, esd, uce, ca, taskVector];

/** Names of all methods, the default first. */
export const METHOD_NAMES: readonly string[] = METHODS.map(({ name }) => name);

/** The method of that name. @throws INVALID_ARGUMENT listing those that exist */
export function methodNamed(name: unknown): ErasureMethod<MethodOptions> {
  const known = oneOf("method", name, METHOD_NAMES);
  return METHODS.find((method) => method.name === known) as ErasureMethod<MethodOptions>;
}
