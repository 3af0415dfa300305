import { InvalidArgumentError } from "commander";
import { FormError, readInteger, readNumber } from "../internal";

/** A whole number. @throws InvalidArgumentError */
export const parseInteger = parser(readInteger);

/** A finite decimal number. @throws InvalidArgumentError */
export const parseNumber = parser(readNumber);

/** For options that may be given several times. */
export function collect(text: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), text];
}

function parser<T>(read: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return read(text);
    } catch (error) {
      if (!(error instanceof FormError)) throw error;
      throw new InvalidArgumentError(error.message);
    }
  };
}
