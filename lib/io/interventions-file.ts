import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { copyContent } from "../files/copy-tree";
import { formatJson, isJsonObject, readJsonObject } from "../files/json-file";
import type { Tensor } from "../runtime/tensor";
import type { CheckpointSource, InterventionRecord, TensorLocation } from "./checkpoint-types";
import { locations, weightFile } from "./checkpoint-weights";
import { INTERVENTION_TENSORS_FILE, INTERVENTIONS_FILE } from "./file-kinds";
import * as safetensors from "./safetensors";

const FORMAT = "kpop-interventions";
const VERSION = 1;

/** What of a folder's interventions is read with the checkpoint. */
type FoundInterventions = Pick<CheckpointSource, "interventions" | "interventionTensors">;

/**
 * What changes how the model in a folder denoises, with the places of its tensors; none where the file is missing.
 * @throws INVALID_CHECKPOINT, INVALID_SAFETENSORS, UNSUPPORTED_FORMAT (a newer version), IO_ERROR
 */
export async function readInterventions(folder: string): Promise<FoundInterventions> {
  const path = join(folder, INTERVENTIONS_FILE);
  if (!(await exists(path))) return { interventions: [] };
  const { format, version, interventions } = await readJsonObject(path);
  if (format !== FORMAT) throw damaged(path);
  if (version !== VERSION)
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${path} is of version ${String(version)}; this library reads version ${VERSION}: update kpop-native`,
    );
  if (!Array.isArray(interventions)) throw damaged(path);
  const records = interventions.map((record: unknown): InterventionRecord => {
    if (!isJsonObject(record)) throw damaged(path);
    const { name, version: kind, settings } = record;
    if (typeof name !== "string" || !Number.isSafeInteger(kind) || !isJsonObject(settings))
      throw damaged(path);
    return { name, version: kind as number, settings };
  });
  if (!(await exists(join(folder, INTERVENTION_TENSORS_FILE)))) return { interventions: records };
  const file = await weightFile(folder, INTERVENTION_TENSORS_FILE, INTERVENTION_TENSORS_FILE);
  return { interventions: withTensors(records, locations(file), file.path), interventionTensors: file };
}

/** Tensors are named by the intervention's place in the list: "0.encoder.weight". */
function withTensors(
  records: readonly InterventionRecord[],
  all: readonly TensorLocation[],
  path: string,
): InterventionRecord[] {
  const own = records.map(() => new Map<string, TensorLocation>());
  for (const location of all) {
    const [, index, name] = /^(\d+)\.(.+)$/.exec(location.key) ?? [];
    const found = index === undefined ? undefined : own[Number(index)];
    if (found === undefined || name === undefined)
      throw new KpopError(
        "INVALID_CHECKPOINT",
        `${path} has the tensor ${JSON.stringify(location.key)}, which belongs to none of the ${records.length} interventions in ${INTERVENTIONS_FILE}`,
      );
    found.set(name, location);
  }
  return records.map((record, index) => {
    const tensors = own[index]!;
    return tensors.size === 0 ? record : { ...record, tensors };
  });
}

/** An intervention as it is written. */
interface WrittenIntervention extends Omit<InterventionRecord, "tensors"> {
  readonly tensors?: ReadonlyMap<string, Tensor>;
}

/** Writes what changes how a model denoises into its folder; nothing where there is nothing. @throws NO_SPACE, IO_ERROR */
export async function writeInterventions(
  folder: string,
  records: readonly WrittenIntervention[],
): Promise<void> {
  await writeList(folder, records);
  const tensors = records.flatMap((record, index) =>
    [...(record.tensors ?? [])].map(([name, tensor]) => [`${index}.${name}`, tensor] as const),
  );
  if (tensors.length > 0) await safetensors.save(join(folder, INTERVENTION_TENSORS_FILE), new Map(tensors));
}

/** The same for those of a checkpoint that is not loaded: tensors go from file to file. */
export async function copyInterventions(source: CheckpointSource, folder: string): Promise<void> {
  await writeList(folder, source.interventions ?? []);
  if (source.interventionTensors !== undefined)
    await copyContent(source.interventionTensors.path, join(folder, INTERVENTION_TENSORS_FILE));
}

async function writeList(
  folder: string,
  records: readonly Omit<InterventionRecord, "tensors">[],
): Promise<void> {
  if (records.length === 0) return;
  const interventions = records.map(({ name, version, settings }) => ({ name, version, settings }));
  const text = formatJson({ format: FORMAT, version: VERSION, interventions });
  await writeFile(join(folder, INTERVENTIONS_FILE), text);
}

/** @throws UNSUPPORTED_FORMAT where there are interventions and the format has no place for them */
export function checkPlaceFor(interventions: readonly { readonly name: string }[], format: string): void {
  if (interventions.length === 0 || format === "diffusers") return;
  const names = interventions.map(({ name }) => name).join(", ");
  throw new KpopError(
    "UNSUPPORTED_FORMAT",
    `The model denoises with ${names}, which a ${format} file has no place for: save it in the format "diffusers"`,
  );
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

function damaged(path: string): KpopError {
  return new KpopError("INVALID_CHECKPOINT", `${path} is a damaged list of interventions`);
}
