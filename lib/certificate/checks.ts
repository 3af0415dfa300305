import { stat } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { jsonDifference } from "../files/json-difference";
import { readJsonObject, without } from "../files/json-file";
import { merkleRoot } from "../files/merkle-tree";
import { sha256File } from "../files/sha256-file";
import type { CheckpointSource } from "../io/checkpoint-types";
import { MANIFEST_FILE } from "../io/file-kinds";
import { differences, openCheckpoint, type CheckpointIdentity, type OpenCheckpoint, type OpenOptions } from "./checkpoint-identity"; // prettier-ignore
import { figureFault } from "./measured";
import type { ErasureCertificate } from "./statement";
import type { Findings } from "./verification";

/** Where models are, as `verify` takes them. */
interface Models {
  model?: string;
  base?: string;
  prediction?: "epsilon" | "v";
  signal?: AbortSignal;
}

/** What a certificate says has to follow from itself: rates from ranks, roots from leaves. */
export function checkFigures({ evaluations }: ErasureCertificate, found: Findings): void {
  for (const evaluation of evaluations) {
    const { root, leaves } = evaluation.pictures;
    const fault = figureFault(evaluation);
    const where = `the evaluation ${evaluation.set}`;
    if (fault !== null)
      found.fail(
        "figures",
        `${fault.path} of ${where} is certified as ${fault.first}, and the ranks give ${fault.second}`,
      );
    else if (merkleRoot(leaves.map(({ leaf }) => leaf)) !== root)
      found.fail("figures", `the pictures' root of ${where} is not that of its leaves`);
    else found.pass("figures", `the rates of ${where} follow from its ${leaves.length} ranks`);
  }
}

/** @returns the base, to apply a delta onto */
export async function checkBase(
  certificate: ErasureCertificate,
  { base, ...told }: Models,
  found: Findings,
): Promise<OpenCheckpoint | undefined> {
  if (base !== undefined) return compare("base", base, certificate.base, told, found);
  found.skipped.push("base");
  return undefined;
}

/** The result's weights and settings, and the manifest beside them, where one is. */
export async function checkModel(
  { result, run }: ErasureCertificate,
  { model, ...told }: Models,
  base: CheckpointSource | undefined,
  found: Findings,
): Promise<void> {
  if (model === undefined) {
    found.skipped.push("model");
    return;
  }
  const open = await compare("model", model, result, { ...told, base }, found);
  const path = join(open?.folder ?? model, MANIFEST_FILE);
  if (open === undefined || (await stat(path).catch(() => null)) === null) return;
  const fault = jsonDifference(without(await readJsonObject(path), "inputs", "outputs"), run);
  const where = `${MANIFEST_FILE} of ${model}`;
  if (fault === null) found.pass("run", `${where} is the certified manifest`);
  else found.fail("run", `${fault.path} in ${where} is ${fault.first}, and ${fault.second} is certified`);
}

/** Files that were left beside the weights, whatever they are called now. */
export async function checkArtefacts(
  certificate: ErasureCertificate,
  paths: readonly string[],
  signal: AbortSignal | undefined,
  found: Findings,
): Promise<void> {
  const certified = certificate.artefacts;
  if (paths.length === 0 && certified.length > 0) found.skipped.push("artefacts");
  const names = certified.map(({ name }) => name).join(", ") || "none";
  for (const path of paths) {
    const sha256 = await sha256File(path, signal === undefined ? {} : { signal });
    const own = certified.find((artefact) => artefact.sha256 === sha256);
    if (own !== undefined) found.pass("artefact", `${path} is the certified ${own.name}`);
    else found.fail("artefact", `${path} is no certified artefact (certified: ${names})`);
  }
}

/** @returns undefined where it is no checkpoint any more */
async function compare(
  name: string,
  path: string,
  certified: CheckpointIdentity,
  { base, prediction, signal }: OpenOptions,
  found: Findings,
): Promise<OpenCheckpoint | undefined> {
  const open = await openCheckpoint(path, { base, prediction, signal }).catch((error: unknown) => {
    if (!(error instanceof KpopError) || !DAMAGED.includes(error.code)) throw error;
    found.fail(name, error.message);
    return undefined;
  });
  if (open === undefined) return undefined;
  const others = differences(open.identity, certified);
  const sameFiles = jsonDifference(open.identity.files, certified.files) === null;
  if (others.length > 0)
    found.fail(name, `${path} is not the certified ${name}: ${others.join("; ")} differ`);
  else found.pass(name, `${path} holds the certified weights${sameFiles ? "" : ", in other files"}`);
  return open;
}

/** What a checkpoint is after some of its bytes were changed. */
const DAMAGED: readonly string[] = ["INVALID_CHECKPOINT", "INVALID_SAFETENSORS"];
