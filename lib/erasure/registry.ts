import { oneOf } from "../check";
import type { Method, OptionsOf } from "./method";
import { age } from "./methods/age";
import { ca } from "./methods/ca";
import { conceptPrune } from "./methods/concept-prune";
import { dumo } from "./methods/dumo";
import { eap } from "./methods/eap";
import { esd } from "./methods/esd";
import { fmn } from "./methods/fmn";
import { kpop } from "./methods/kpop";
import { oce } from "./methods/oce";
import { prune } from "./methods/prune";
import { race } from "./methods/race";
import { rece } from "./methods/rece";
import { saeuron } from "./methods/saeuron";
import { sdd } from "./methods/sdd";
import { sld } from "./methods/sld";
import { space } from "./methods/space";
import { speed } from "./methods/speed";
import { stereo } from "./methods/stereo";
import { taskVector } from "./methods/task-vector";
import { time } from "./methods/time";
import { uce } from "./methods/uce";

/** All methods, the default first: the one list, which types, command line, tests and benchmark follow. */
export const METHODS = [
  kpop,
  esd,
  uce,
  ca,
  taskVector,
  sld,
  time,
  rece,
  speed,
  oce,
  conceptPrune,
  sdd,
  space,
  fmn,
  eap,
  age,
  prune,
  dumo,
  saeuron,
  race,
  stereo,
] as const;

type Methods = (typeof METHODS)[number];
type Default = (typeof METHODS)[0];

/** Options of `erase`: a method's own beside those that every method takes. Without a method it is KPOP. */
export type EraseOptions =
  | { [N in Methods["name"]]: OptionsOf<Extract<Methods, { name: N }>> }[Methods["name"]]
  | (Omit<OptionsOf<Default>, "method"> & { method?: Default["name"] });

/** Options of the method of that name. */
export type MethodOptions<N extends Methods["name"]> = Extract<EraseOptions, { method: N }>;

/** Names of all methods, the default first. */
export const METHOD_NAMES: readonly string[] = METHODS.map(({ name }) => name);

/** The method of that name. @throws INVALID_ARGUMENT listing those that exist */
export function methodNamed(name: unknown): Method {
  const known = oneOf("method", name, METHOD_NAMES);
  return (METHODS as readonly unknown[] as readonly Method[]).find((method) => method.name === known)!;
}
