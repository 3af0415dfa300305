import { KpopError } from "../lib/index";

/** Checks of what flags are given; each says what is wrong in one sentence, with the flag. */

export function oneOf<T extends string>(flag: string, known: readonly T[]): (value: string) => T {
  return (value) => {
    const found = known.find((name) => name === value.trim());
    return found ?? refuse(flag, `among ${known.join(", ")}`, value);
  };
}

/** Several, between commas. */
export function listOf<T extends string>(flag: string, known: readonly T[]): (value: string) => T[] {
  return (value) => value.split(",").map(oneOf(flag, known));
}

export function integer(flag: string, minimum: number): (value: string) => number {
  return (value) =>
    /^\d+$/.test(value) && Number(value) >= minimum
      ? Number(value)
      : refuse(flag, `an integer >= ${minimum}`, value);
}

export function number(flag: string, minimum: number): (value: string) => number {
  return (value) =>
    value.trim() !== "" && Number.isFinite(Number(value)) && Number(value) >= minimum
      ? Number(value)
      : refuse(flag, `a number >= ${minimum}`, value);
}

export function refuse(flag: string, expected: string, value: string): never {
  throw new KpopError("INVALID_ARGUMENT", `Expected ${flag} to be ${expected} but received "${value}"`);
}
