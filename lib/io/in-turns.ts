import { setImmediate } from "node:timers/promises";

/** Work that may be left off at every `yield`. */
export type Steps<T> = Generator<undefined, T>;

/** Entries that such work looks at from one `yield` to the next. */
export const TOGETHER = 2048;

/** Does all of the work before anything else on the JS thread. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** The same, with turns for others on the JS thread. */
export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    await setImmediate();
  }
}
