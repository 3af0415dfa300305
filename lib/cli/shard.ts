import type { Shard } from "../index";
import { findShard } from "../internal";
import { say } from "./output";

/**
 * The part of the work that a command does: the one given, else what torchrun, Slurm or Kubernetes makes of it, which is
 * said. Undefined where that is the whole.
 * @throws INVALID_ARGUMENT where the environment contradicts itself
 */
export function shardOf(given: Shard | undefined): Shard | undefined {
  const found = given === undefined ? findShard(process.env) : undefined;
  const shard = given ?? found;
  if (shard === undefined || shard.count === 1) return undefined;
  const { index, count } = shard;
  const by = found === undefined ? "" : ` by ${found.from.join(" and ")}; --shard 0/1 is the whole`;
  say(`Shard ${index}/${count}${by}`);
  return { index, count };
}

/** What comes after the shards, for people. */
export function afterShards(what: string): string {
  return `${what}; when all shards are done, the same command with --shard 0/1 puts them together`;
}
