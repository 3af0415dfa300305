import { createHash } from "node:crypto";
import { updateBetweenTurns } from "../diffusion/model-hash";
import { throwIfAborted } from "../errors";
import { canonicalJson } from "../files/canonical-json";
import type { Module } from "../models/module";

/** What judged pictures. */
export interface Judge {
  /** Where it comes from, as it was given. */
  origin: string;
  /** SHA-256 over its weights, and what else decides its judgement; null where it is one of the caller's own. */
  sha256: string | null;
}

/** What has a hash to be told by. */
export interface Hashed {
  /** Where it comes from, as it was given. */
  readonly origin: string;
  /** SHA-256 over what decides its judgement, 64 hexadecimal digits; null where there is none. @throws ABORTED */
  hash(signal?: AbortSignal): Promise<string | null>;
}

/** A judge's record. @throws ABORTED */
export async function judgeOf(judge: Hashed, signal: AbortSignal | undefined): Promise<Judge> {
  return { origin: judge.origin, sha256: await judge.hash(signal) };
}

/**
 * SHA-256 over a network's weights as they are in memory and over settings, as 64 hexadecimal digits: the same whichever
 * files it came from.
 * @param settings JSON
 * @throws ABORTED
 */
export async function hashNetwork(
  network: Module<object>,
  settings: unknown,
  signal?: AbortSignal,
): Promise<string> {
  const hash = createHash("sha256").update(canonicalJson(settings));
  for (const name of network.parameterNames().sort()) {
    throwIfAborted(signal);
    const tensor = network.parameter(name);
    hash.update(`\n${JSON.stringify([name, tensor.dtype, tensor.shape])}\n`);
    await updateBetweenTurns(hash, await tensor.bytes());
  }
  return hash.digest("hex");
}
