import { oneOf } from "../check";
import type { AttackMethod, AttackOptionsOf } from "./method";
import { conceptInversion } from "./methods/concept-inversion";
import { diverseInversion } from "./methods/diverse-inversion";
import { keySearch } from "./methods/key-search";
import { relearn } from "./methods/relearn";
import { ringABell } from "./methods/ring-a-bell";
import { tina } from "./methods/tina";
import { unlearnDiff } from "./methods/unlearn-diff";

/** All attacks, the default first: the one list, which types, command line, tests and benchmark follow. */
export const ATTACKS = [
  conceptInversion,
  diverseInversion,
  keySearch,
  relearn,
  ringABell,
  tina,
  unlearnDiff,
] as const;

type Attacks = (typeof ATTACKS)[number];
type Default = (typeof ATTACKS)[0];

/** Options of `attack`: an attack's own beside those that every attack takes. Without a method it is concept inversion. */
export type AttackOptions =
  | { [N in Attacks["name"]]: AttackOptionsOf<Extract<Attacks, { name: N }>> }[Attacks["name"]]
  | (Omit<AttackOptionsOf<Default>, "method"> & { method?: Default["name"] });

/** Names of all attacks, the default first. */
export const ATTACK_NAMES: readonly string[] = ATTACKS.map(({ name }) => name);

/** The attack of that name. @throws INVALID_ARGUMENT listing those that exist */
export function attackNamed(name: unknown): AttackMethod {
  const known = oneOf("method", name, ATTACK_NAMES);
  return (ATTACKS as readonly unknown[] as readonly AttackMethod[]).find((attack) => attack.name === known)!;
}
