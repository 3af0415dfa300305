import { KpopError } from "../errors";
import type { Shard } from "./shard";

type Environment = Readonly<Record<string, string | undefined>>;

/** A shard, and the variables that it follows from. */
export interface FoundShard extends Shard {
  readonly from: readonly string[];
}

/**
 * The shard that the environment makes of this process: torchrun's RANK and WORLD_SIZE, else Slurm's SLURM_PROCID and
 * SLURM_NTASKS within its SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, else Kubernetes' JOB_COMPLETION_INDEX with
 * JOB_COMPLETIONS, which an Indexed Job's manifest has to set. Of engines within each other the inner one counts.
 * @returns undefined where none of them is there
 * @throws INVALID_ARGUMENT where only half of a pair is set, or the index is out of range
 */
export function shardFromEnvironment(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Shard | undefined {
  const found = findShard(environment);
  return found === undefined ? undefined : { index: found.index, count: found.count };
}

/** `shardFromEnvironment`, with where it comes from. */
export function findShard(env: Environment): FoundShard | undefined {
  return (
    pair(env, "RANK", "WORLD_SIZE") ?? slurm(env) ?? pair(env, "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS")
  );
}

/** The tasks of every member of an array, one member after the other. */
function slurm(env: Environment): FoundShard | undefined {
  const [array, tasks] = [slurmArray(env), slurmTasks(env)];
  if (array === undefined || tasks === undefined) return array ?? tasks;
  return {
    index: array.index * tasks.count + tasks.index,
    count: array.count * tasks.count,
    from: [...array.from, ...tasks.from],
  };
}

function slurmTasks(env: Environment): FoundShard | undefined {
  // A script of sbatch has one without the other unless it asks for tasks, and so has the shell of salloc.
  const alone = (env["SLURM_PROCID"] || "0") === "0" && (env["SLURM_NTASKS"] || "1") === "1";
  return env["SLURM_JOB_ID"] && alone ? undefined : pair(env, "SLURM_PROCID", "SLURM_NTASKS");
}

/** Members are numbered from any first one, in any step: --array=10-30:5. */
function slurmArray(env: Environment): FoundShard | undefined {
  const names = ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"] as const;
  if (!isWhole(env, ...names)) return undefined;
  const [id, count] = names.map((name) => number(env, name)) as [number, number];
  const [first, step] = [optional(env, "SLURM_ARRAY_TASK_MIN", 0), optional(env, "SLURM_ARRAY_TASK_STEP", 1)];
  const last = optional(env, "SLURM_ARRAY_TASK_MAX", first + (count - 1) * step);
  const index = (id - first) / step;
  if (last !== first + (count - 1) * step || !Number.isSafeInteger(index) || index < 0 || index >= count)
    throw refused(
      `Expected SLURM_ARRAY_TASK_ID to be one of ${count} in equal steps from ${first} on but received "${id}", the last being ${last}: give an array without gaps, or name the shard yourself (--shard)`,
    );
  return { index, count, from: names };
}

function pair(env: Environment, indexName: string, countName: string): FoundShard | undefined {
  if (!isWhole(env, indexName, countName)) return undefined;
  const [index, count] = [number(env, indexName), number(env, countName)];
  if (count < 1 || index >= count)
    throw refused(
      `Expected ${indexName} to be from 0 to ${countName} - 1 but received "${index}" with ${countName} "${count}"`,
    );
  return { index, count, from: [indexName, countName] };
}

/** Whether both of two variables are set. @throws INVALID_ARGUMENT where one is */
function isWhole(env: Environment, first: string, second: string): boolean {
  const [there, missing] = env[first] ? [first, second] : [second, first];
  if (!env[there]) return false;
  if (env[missing]) return true;
  throw refused(
    `Expected ${first} and ${second} to be set together but ${missing} is not: set it, or name the shard yourself (--shard, 0/1 being the whole)`,
  );
}

function optional(env: Environment, name: string, otherwise: number): number {
  return env[name] ? number(env, name) : otherwise;
}

function number(env: Environment, name: string): number {
  const text = env[name]!.trim();
  if (!/^\d{1,9}$/.test(text))
    throw refused(`Expected ${name} to be a whole number >= 0 but received "${text}"`);
  return Number(text);
}

function refused(message: string): KpopError {
  return new KpopError("INVALID_ARGUMENT", message);
}
