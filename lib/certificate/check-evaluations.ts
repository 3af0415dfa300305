import { stat } from "node:fs/promises";
import { join } from "node:path";
import { jsonDifference } from "../files/json-difference";
import { figuresOf, findSet, pictureLeaf, readResult, resultFile } from "./measured";
import type { CertifiedEvaluation, ErasureCertificate } from "./statement";
import type { Findings } from "./verification";

/**
 * Pictures and figures in the folders of evaluations.
 * @param given folders, each of one or several of the certified evaluations
 */
export async function checkEvaluations(
  { evaluations }: ErasureCertificate,
  given: readonly string[],
  signal: AbortSignal | undefined,
  found: Findings,
): Promise<void> {
  if (given.length === 0) {
    if (evaluations.length > 0) found.skipped.push("evaluations");
    return;
  }
  const used = new Set<string>();
  for (const evaluation of evaluations) {
    const folders = new Map<string, string>();
    for (const path of given) {
      const folder = await findSet(path, evaluation.set);
      if (folder !== null) folders.set(path, folder);
    }
    for (const path of folders.keys()) used.add(path);
    const [folder] = folders.values();
    if (folder === undefined) {
      found.fail("pictures", `no folder that was given has those of the evaluation ${evaluation.set}`);
      continue;
    }
    await checkResult(evaluation, [...folders.keys()], found);
    await checkPictures(evaluation, folder, signal, found);
  }
  for (const path of given)
    if (!used.has(path)) found.fail("evaluation", `${path} has the pictures of no certified evaluation`);
}

/** The figures that lie beside pictures: one folder's have to be the certified ones. */
async function checkResult(
  { figures }: CertifiedEvaluation,
  given: readonly string[],
  found: Findings,
): Promise<void> {
  const faults: string[] = [];
  for (const path of given) {
    const file = await resultFile(path);
    if ((await stat(file).catch(() => null))?.isFile() !== true) continue;
    const fault = jsonDifference(figuresOf(await readResult(file)), figures);
    if (fault === null) {
      found.pass("evaluation", `${file} has the certified figures`);
      return;
    }
    faults.push(`${fault.path} in ${file} is ${fault.first}, and ${fault.second} is certified`);
  }
  for (const fault of faults) found.fail("evaluation", fault);
}

async function checkPictures(
  { pictures: { leaves } }: CertifiedEvaluation,
  folder: string,
  signal: AbortSignal | undefined,
  found: Findings,
): Promise<void> {
  let faults = 0;
  for (const { file, leaf, prompt, seed } of leaves) {
    const now = await pictureLeaf(folder, file, signal);
    if (now === leaf) continue;
    faults += 1;
    const what = `${join(folder, file)} ("${prompt}", seed ${seed})`;
    found.fail("pictures", now === null ? `${what} is missing` : `${what} is not the certified picture`);
  }
  if (faults === 0) found.pass("pictures", `all ${leaves.length} in ${folder} are the certified ones`);
}
