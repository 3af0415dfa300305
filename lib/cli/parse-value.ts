import { InvalidArgumentError } from "commander";
import { FormError, readInteger } from "../internal";

/** @throws InvalidArgumentError */
export function parseInteger(text: string): number {
  try {
    return readInteger(text);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new InvalidArgumentError(error.message);
  }
}

/** For options that may be given several times. */
export function collect(text: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), text];
}
