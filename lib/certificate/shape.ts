import { isJsonObject } from "../files/json-file";

/** Says where a value of an untrusted file is not of a form: the place of the first fault; null where there is none. */
export type Shape = (value: unknown, at: string) => string | null;

/** What a test accepts. */
export function that(test: (value: unknown) => boolean): Shape {
  return (value, at) => (test(value) ? null : at);
}

/** A text that the pattern matches. @param most characters */
export function text(pattern = /^/, most = Infinity): Shape {
  return that((value) => typeof value === "string" && value.length <= most && pattern.test(value));
}

/** A finite number in a range. */
export function number(from = -Infinity, to = Infinity): Shape {
  return that((value) => typeof value === "number" && value >= from && value <= to);
}

/** A whole number in a range. */
export function whole(from: number, to = Number.MAX_SAFE_INTEGER): Shape {
  return that((value) => Number.isSafeInteger(value) && (value as number) >= from && (value as number) <= to);
}

/** A list of one kind of thing. @param most that there may be */
export function list(item: Shape, most = Infinity): Shape {
  return (value, at) => {
    if (!Array.isArray(value) || value.length > most) return at;
    return first(value.map((one: unknown, i) => () => item(one, `${at}[${i}]`)));
  };
}

/** An object of one kind of thing, under any keys. */
export function record(member: Shape): Shape {
  return (value, at) => {
    if (!isJsonObject(value)) return at;
    return first(
      Object.entries(value).map(
        ([key, one]) =>
          () =>
            member(one, `${at}.${key}`),
      ),
    );
  };
}

/** An object with these members; others are not looked at. */
export function object(members: Readonly<Record<string, Shape>>): Shape {
  return (value, at) => {
    if (!isJsonObject(value)) return at;
    return first(
      Object.entries(members).map(
        ([key, shape]) =>
          () =>
            shape(value[key], `${at}.${key}`),
      ),
    );
  };
}

/** What may be left out. */
export function optional(shape: Shape): Shape {
  return (value, at) => (value === undefined ? null : shape(value, at));
}

/** What may be null. */
export function orNull(shape: Shape): Shape {
  return (value, at) => (value === null ? null : shape(value, at));
}

function first(looks: readonly (() => string | null)[]): string | null {
  for (const look of looks) {
    const fault = look();
    if (fault !== null) return fault;
  }
  return null;
}
