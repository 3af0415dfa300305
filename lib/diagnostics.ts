import { AsyncLocalStorage } from "node:async_hooks";
import { channel, tracingChannel } from "node:diagnostics_channel";

/** A checkpoint is loaded: `tracingChannel("kpop-native:load")`. */
export interface LoadTrace {
  path: string;
  /** The device asked for, "auto" among them. */
  device: string;
  dtype: string;
  /** The delta that is applied. */
  delta?: string;
  result?: {
    /** The device that it lies on. */
    device: string;
  };
  error?: unknown;
}

/** Concepts are erased: `tracingChannel("kpop-native:erase")`. */
export interface EraseTrace {
  operation: "erase";
  /** Path of the checkpoint. */
  model: string;
  method: string;
  concepts: readonly string[];
  seed: number;
  result?: {
    iterations: number;
    /** Of the run itself, interruptions left out, those before it was resumed put in. */
    seconds: number;
    unetEvaluations: number;
    changedParameters: number;
  };
  error?: unknown;
}

/** Embeddings are learned from pictures, by `invert` or `invertDiverse`: `tracingChannel("kpop-native:invert")`. */
export interface InvertTrace {
  operation: "invert";
  /** Path of the checkpoint. */
  model: string;
  /** Number of pictures that it learns from. */
  pictures: number;
  seed: number;
  result?: { unetEvaluations: number };
  error?: unknown;
}

/** An erasure is attacked: `tracingChannel("kpop-native:attack")`. A shard tells no result. */
export interface AttackTrace {
  operation: "attack";
  /** Path of the attacked checkpoint. */
  model: string;
  method: string;
  concept: string;
  seed: number;
  result?: {
    /** Attack success rates without and with the attack, 0 to 1. */
    before: number;
    after: number;
    /** Number of inputs found. */
    inputs: number;
    /** Of the search. */
    unetEvaluations: number;
  };
  error?: unknown;
}

/** Pictures are drawn: `tracingChannel("kpop-native:generate")`. An evaluation's or an attack's, too. */
export interface GenerateTrace {
  /** Path of the checkpoint. */
  model: string;
  prompts: readonly string[];
  /** Number of pictures, of all prompts. */
  pictures: number;
  steps: number;
  sampler: string;
  width: number;
  height: number;
  error?: unknown;
}

/** A model is measured: `tracingChannel("kpop-native:evaluate")`. A shard, which measures nothing, tells no result. */
export interface EvaluateTrace {
  /** Path of the checkpoint. */
  model: string;
  erased: readonly string[];
  preserved: readonly string[];
  result?: {
    /** Number of pictures, and of those that were made and not found. */
    images: number;
    generated: number;
    /** Rates by k, 0 to 1. */
    esr: Readonly<Record<number, number>>;
    psr: Readonly<Record<number, number>>;
  };
  error?: unknown;
}

/** An iteration of a run is done: `channel("kpop-native:step")`. */
export interface StepMessage {
  /** The message of the run's own channel, the same object; not there where nobody listened when the run began. */
  run?: EraseTrace | InvertTrace | AttackTrace;
  /** From 1. A run that goes on from a saved state tells of the steps before it again, as `onStep` is told of them. */
  iteration: number;
  iterations: number;
  losses: Record<string, number>;
  seconds: number;
  etaSeconds: number;
}

/** The tracing channels of `node:diagnostics_channel` by name, and the message of each. */
export interface TraceMessages {
  "kpop-native:load": LoadTrace;
  "kpop-native:erase": EraseTrace;
  "kpop-native:invert": InvertTrace;
  "kpop-native:attack": AttackTrace;
  "kpop-native:generate": GenerateTrace;
  "kpop-native:evaluate": EvaluateTrace;
}

/** Held for good: a channel that nobody holds may be collected, and its listeners with it. */
const CHANNELS: { [N in keyof TraceMessages]: ReturnType<typeof tracingChannel<unknown, object>> } = {
  "kpop-native:load": tracingChannel("kpop-native:load"),
  "kpop-native:erase": tracingChannel("kpop-native:erase"),
  "kpop-native:invert": tracingChannel("kpop-native:invert"),
  "kpop-native:attack": tracingChannel("kpop-native:attack"),
  "kpop-native:generate": tracingChannel("kpop-native:generate"),
  "kpop-native:evaluate": tracingChannel("kpop-native:evaluate"),
};
const STEP = channel("kpop-native:step");

const running = new AsyncLocalStorage<object>();

/** What an operation says of itself at its end. */
type Told<M> = M extends { result?: infer R } ? NonNullable<R> : never;

/**
 * Runs an operation and tells the listeners of its channel of its start and its end. Where nobody listens, `started` and
 * `told` are not called. What a listener throws is Node's to report, as an uncaught exception: it never gets here.
 */
export async function traced<N extends keyof TraceMessages, R>(
  name: N,
  started: () => Omit<TraceMessages[N], "result" | "error">,
  run: () => Promise<R>,
  told?: (result: R) => Told<TraceMessages[N]> | undefined,
): Promise<R> {
  // A step tells of its run, whoever listens to that.
  if (!CHANNELS[name].hasSubscribers && !STEP.hasSubscribers) return run();
  const message = started();
  let result: R | undefined;
  await CHANNELS[name].tracePromise(async () => {
    result = await running.run(message, run);
    return told?.(result);
  }, message);
  return result as R;
}

/** Tells the listeners of a run's iteration. */
export function traceStep(report: Omit<StepMessage, "run">): void {
  if (!STEP.hasSubscribers) return;
  const run = running.getStore() as StepMessage["run"];
  STEP.publish({ ...report, losses: { ...report.losses }, ...(run === undefined ? {} : { run }) });
}
