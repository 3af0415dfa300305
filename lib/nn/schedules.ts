import { finite, integer, invalid, knownKeys, oneOf } from "../check";
import { KpopError } from "../errors";

/** A rate or weight over the iterations of a run: fixed, of a named shape, or a function of (iteration, iterations). */
export type Schedule = number | ScheduleShape | ScheduleFunction;

/** The value for iteration 0 … iterations − 1; finite and >= 0. */
export type ScheduleFunction = (iteration: number, iterations: number) => number;

/** A value that moves from one number to another over a run. */
export interface ScheduleShape {
  /** The value after the warm-up. */
  from: number;
  /** The value of the last iteration; `"constant"` stays at `from`. */
  to: number;
  shape: "constant" | "linear" | "cosine";
  /** Iterations of linear ramp from 0 up to `from`; default 0. */
  warmup?: number;
}

const SHAPES = {
  constant: () => 0,
  linear: (u: number) => u,
  cosine: (u: number) => (1 - Math.cos(Math.PI * u)) / 2,
} as const;

/**
 * Checks a schedule once and gives its value v(i, n) for iteration i = 0 … n−1 of n.
 *
 * With `warmup` w > 0, v = from·(i+1)/w for i < w: the ramp leaves 0 one iteration before the run, so that i = 0 has
 * from/w, not 0, and i = w−1 has `from`. From there v = from + (to − from)·s(u), where u grows evenly from 0 to 1 at
 * i = n−1, and s is 0 (`"constant"`), u (`"linear"`) or (1 − cos πu)/2 (`"cosine"`: Loshchilov and Hutter, arXiv
 * 1608.03983 eq. 5, without restarts).
 *
 * @param name the option, for error messages
 * @throws INVALID_ARGUMENT on unknown keys and on values that are negative or not finite; a function's values are
 *   checked at each call
 */
export function parseSchedule(name: string, schedule: Schedule): ScheduleFunction {
  if (typeof schedule === "function") return (i, n) => finite(`${name}(${i}, ${n})`, schedule(i, n), 0);
  if (typeof schedule === "number") {
    finite(name, schedule, 0);
    return () => schedule;
  }
  if (typeof schedule !== "object" || schedule === null || Array.isArray(schedule))
    throw invalid(name, "a number >= 0, { from, to, shape, warmup } or a function", schedule);
  return shaped(name, schedule);
}

function shaped(name: string, schedule: ScheduleShape): ScheduleFunction {
  knownKeys(name, schedule, ["from", "to", "shape", "warmup"]);
  const from = finite(`${name}.from`, schedule.from, 0);
  const to = finite(`${name}.to`, schedule.to, 0);
  const shape = SHAPES[oneOf(`${name}.shape`, schedule.shape, ["constant", "linear", "cosine"])];
  const warmup = integer(`${name}.warmup`, schedule.warmup ?? 0, 0);
  return (i, n) => {
    if (!(Number.isInteger(i) && i >= 0 && i < n))
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected an iteration of ${name} from 0 to ${n - 1} but received ${i}`,
      );
    if (i < warmup) return (from * (i + 1)) / warmup;
    const start = Math.max(warmup - 1, 0);
    return from + (to - from) * shape(i === start ? 0 : (i - start) / (n - 1 - start));
  };
}
