import { AsyncLocalStorage } from "node:async_hooks";

/** What a scope can free. */
export interface Disposable {
  dispose(): void;
}

class Scope {
  private readonly held = new Set<Disposable>();

  constructor(readonly parent: Scope | undefined) {}

  adopt(item: Disposable): void {
    this.held.add(item);
  }

  release(item: Disposable): void {
    this.held.delete(item);
  }

  /** Frees all but what `result` reaches; that goes to the scope around, if there is one. */
  close(result: unknown): void {
    for (const kept of reachable(result)) {
      if (this.held.delete(kept)) this.parent?.adopt(kept);
    }
    for (const item of this.held) item.dispose();
    this.held.clear();
  }
}

const current = new AsyncLocalStorage<Scope | undefined>();

/**
 * Runs `fn` and frees every tensor made inside, across awaits, except those that the result holds (directly, or in
 * arrays, plain objects and Maps). On an error everything made inside is freed.
 */
export function scope<T>(fn: () => T): T {
  const inner = new Scope(current.getStore());
  let result: T;
  try {
    result = current.run(inner, fn);
  } catch (error) {
    inner.close(undefined);
    throw error;
  }
  if (!(result instanceof Promise)) {
    inner.close(result);
    return result;
  }
  return result.then(
    (value: unknown) => {
      inner.close(value);
      return value;
    },
    (error: unknown) => {
      inner.close(undefined);
      throw error;
    },
  ) as T;
}

/** Takes an item, and what a returned value would reach, out of the scopes that would free it. */
export function keep<T>(value: T): T {
  for (const item of reachable(value)) {
    for (let s = current.getStore(); s !== undefined; s = s.parent) s.release(item);
  }
  return value;
}

/** Registers a new item with the scope that is open, if any. */
export function adopt(item: Disposable): void {
  current.getStore()?.adopt(item);
}

/** Runs `fn` outside of any scope: what it makes lives until it is disposed. */
export function unscoped<T>(fn: () => T): T {
  // Of `exit`, a scope inside `fn` would be the end.
  return current.run(undefined, fn);
}

function* reachable(value: unknown, seen = new Set<object>()): Generator<Disposable> {
  if (typeof value !== "object" || value === null || seen.has(value)) return;
  seen.add(value);
  if ("dispose" in value && typeof value.dispose === "function") {
    yield value as Disposable;
  } else if (Array.isArray(value)) {
    for (const item of value) yield* reachable(item, seen);
  } else if (value instanceof Map) {
    for (const item of value.values()) yield* reachable(item, seen);
  } else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) yield* reachable(item, seen);
  }
}
