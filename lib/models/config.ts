import { KpopError } from "../errors";

/** How one field of a checkpoint's config.json is read. */
export type FieldRule =
  | { kind: "read"; accept: (value: unknown) => boolean; expected: string }
  /** Only this value (or none) leaves the mathematics as this library computes it. */
  | { kind: "fixed"; values: readonly unknown[] }
  /** Changes nothing that is computed here. */
  | { kind: "ignored" };

const isInteger = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) > 0;
const isIntegers = (value: unknown): boolean =>
  Array.isArray(value) && value.length > 0 && value.every(isInteger);
const isFinite = (value: unknown): boolean => typeof value === "number" && Number.isFinite(value);

export const positiveInteger: FieldRule = { kind: "read", accept: isInteger, expected: "a positive integer" };
/** The most layers of one kind that a network is built with: building is not to take minutes before a file of a few
 *  tensors is found not to fit. Networks of this kind have some tens. */
export const MAX_LAYERS = 300;
const MAX_LEVELS = 16;
const isLayerCount = (value: unknown): boolean => isInteger(value) && (value as number) <= MAX_LAYERS;

export const layerCount: FieldRule = {
  kind: "read",
  accept: isLayerCount,
  expected: `a positive integer of at most ${MAX_LAYERS}`,
};
export const levels: FieldRule = {
  kind: "read",
  accept: (value) => isIntegers(value) && (value as unknown[]).length <= MAX_LEVELS,
  expected: `a list of at most ${MAX_LEVELS} positive integers`,
};
export const layersPerLevel: FieldRule = {
  kind: "read",
  accept: (value) => isLayerCount(value) || (isIntegers(value) && (value as unknown[]).every(isLayerCount)),
  expected: `a positive integer of at most ${MAX_LAYERS} or a list of them`,
};
export const perLevel: FieldRule = {
  kind: "read",
  accept: (value) => isInteger(value) || isIntegers(value),
  expected: "a positive integer or a list of them",
};
export const count: FieldRule = {
  kind: "read",
  accept: (value) => value === 0 || isInteger(value),
  expected: "an integer from 0 on",
};
export const number: FieldRule = { kind: "read", accept: isFinite, expected: "a finite number" };
export const positiveNumber: FieldRule = {
  kind: "read",
  accept: (value) => isFinite(value) && (value as number) > 0,
  expected: "a positive number",
};
export const boolean: FieldRule = {
  kind: "read",
  accept: (value) => typeof value === "boolean",
  expected: "true or false",
};
export const names: FieldRule = {
  kind: "read",
  accept: (value) => Array.isArray(value) && value.every((item) => typeof item === "string"),
  expected: "a list of names",
};
export const ignored: FieldRule = { kind: "ignored" };

export const fixed = (...values: unknown[]): FieldRule => ({ kind: "fixed", values });

export function text(...allowed: string[]): FieldRule {
  return {
    kind: "read",
    accept: (value) => allowed.includes(value as string),
    expected: `one of ${allowed.join(", ")}`,
  };
}

export function texts(...allowed: string[]): FieldRule {
  return {
    kind: "read",
    accept: (value) =>
      Array.isArray(value) && value.length > 0 && value.every((item) => allowed.includes(item as string)),
    expected: `a list of ${allowed.join(", ")}`,
  };
}

/**
 * Reads a checkpoint's configuration over complete defaults. Fields that start with "_" are notes of the tool that
 * wrote the file.
 * @param what for messages, for example "unet/config.json"
 * @throws UNSUPPORTED_MODEL for a field that is unknown, or whose value changes the mathematics in a way that this
 *   library does not implement
 */
export function readConfig<C extends object>(
  what: string,
  raw: Readonly<Record<string, unknown>>,
  defaults: Readonly<C>,
  rules: Readonly<Record<string, FieldRule>>,
): C {
  const config: Record<string, unknown> = { ...defaults };
  for (const [name, value] of Object.entries(raw)) {
    if (name.startsWith("_")) continue;
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) {
      if (value === null) continue;
      throw unsupported(what, name, value, "is not known here and may change what the network computes");
    }
    if (rule.kind === "ignored") continue;
    if (value === null) {
      // In Python None is no default: it is false where it is asked, and no name of a block.
      if (rule === boolean) config[name] = false;
      else if (rule.kind === "read" && typeof config[name] === "string" && config[name] !== "")
        throw unsupported(what, name, value, `should be ${rule.expected}`);
      continue;
    }
    if (rule.kind === "fixed") {
      if (!rule.values.includes(value)) {
        throw unsupported(
          what,
          name,
          value,
          `is supported only as ${rule.values.map((v) => JSON.stringify(v)).join(" or ") || "null"}`,
        );
      }
    } else if (rule.accept(value)) {
      config[name] = value;
    } else {
      throw unsupported(what, name, value, `should be ${rule.expected}`);
    }
  }
  return config as C;
}

function unsupported(what: string, name: string, value: unknown, reason: string): KpopError {
  return new KpopError("UNSUPPORTED_MODEL", `${what}: "${name}" = ${JSON.stringify(value)} ${reason}`);
}
