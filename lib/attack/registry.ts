import { oneOf } from "../check";
import type { AttackMethod } from "./method";
import { conceptInversion } from "./methods/concept-inversion";
import { diverseInversion } from "./methods/diverse-inversion";
import { keySearch } from "./methods/key-search";
import { ringABell } from "./methods/ring-a-bell";
import { unlearnDiff } from "./methods/unlearn-diff";

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- each attack has options of its own
type AnyAttack = AttackMethod<any>;

const ATTACKS: readonly AnyAttack[] = [conceptInversion, diverseInversion, keySearch, ringABell, unlearnDiff];

/** Names of all attacks, the default first. */
export const ATTACK_NAMES: readonly string[] = ATTACKS.map(({ name }) => name);

/** The attack of that name. @throws INVALID_ARGUMENT listing those that exist */
export function attackNamed(name: unknown): AttackMethod<object> {
  const known = oneOf("method", name, ATTACK_NAMES);
  return ATTACKS.find((attack) => attack.name === known) as AttackMethod<object>;
}
