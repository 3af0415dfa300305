import { AsyncLocalStorage } from "node:async_hooks";

const disabled = new AsyncLocalStorage<boolean>();

/** Whether an operation called now records a graph where its inputs ask for gradients. */
export function gradEnabled(): boolean {
  return disabled.getStore() !== true;
}

/** Runs `fn`, across awaits, with no graph recorded by any tensor operation inside. */
export function noGrad<T>(fn: () => T): T {
  return disabled.run(true, fn);
}
