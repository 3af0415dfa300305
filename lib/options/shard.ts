import { integer, invalid, knownKeys } from "../check";
import { single } from "./kinds";
import type { Option } from "./option";
import { FormError } from "./read";

/** One of the processes that share the work of a call, on one machine or several. */
export interface Shard {
  /** From 0 to count - 1. */
  readonly index: number;
  /** How many there are. */
  readonly count: number;
}

/** Which part of the work is done. */
export function shardOption(): Option<Shard | undefined, Shard> {
  return {
    default: undefined,
    help: "do part i of n alone, 0/n to n-1/n; by default what torchrun, Slurm or Kubernetes says, and 0/1 is the whole",
    check(name, value) {
      if (typeof value !== "object" || value === null) throw invalid(name, "an object", value);
      knownKeys(name, value, ["index", "count"]);
      const { index, count } = value as Partial<Record<keyof Shard, unknown>>;
      const known = integer(`${name}.count`, count, 1);
      return { index: integer(`${name}.index`, index, 0, known - 1), count: known };
    },
    flag: single("i/n", readShard),
  };
}

/** What of a list a shard does: every count-th from index on, so that parts differ by one at most. Without a shard, all. */
export function partOf<T>(shard: Shard | undefined, all: readonly T[]): T[] {
  return all.filter((_, place) => isOf(shard, place));
}

/** Whether what has a place in such a list is the shard's. */
export function isOf(shard: Shard | undefined, place: number): boolean {
  return shard === undefined || place % shard.count === shard.index;
}

/** I/N. @throws FormError */
export function readShard(text: string): Shard {
  const [index, count] = /^(\d{1,9})\/(\d{1,9})$/.exec(text.trim())?.slice(1).map(Number) ?? [];
  if (index === undefined || count === undefined || index >= count)
    throw new FormError("Expected I/N, I from 0 to N - 1: of two shards 0/2 and 1/2.");
  return { index, count };
}
