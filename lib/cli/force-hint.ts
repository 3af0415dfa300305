import { KpopError } from "../index";

/** Runs work whose refusal to replace something is to name the flag that allows it. */
export async function withForceHint<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof KpopError)) throw error;
    const message = error.message.replace("ask for it to be replaced (force)", "replace it with --force");
    throw new KpopError(error.code, message, { cause: error });
  }
}
