import { stat } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { formatJson, isJsonObject, readJsonObject } from "../files/json-file";
import type { InterventionRecord } from "./checkpoint-types";
import { INTERVENTIONS_FILE } from "./file-kinds";

const FORMAT = "kpop-interventions";
const VERSION = 1;

/**
 * What changes how the model in a folder denoises; none where the file is missing.
 * @throws INVALID_CHECKPOINT, UNSUPPORTED_FORMAT (a newer version), IO_ERROR
 */
export async function readInterventions(folder: string): Promise<InterventionRecord[]> {
  const path = join(folder, INTERVENTIONS_FILE);
  if ((await stat(path).catch(() => null)) === null) return [];
  const { format, version, interventions } = await readJsonObject(path);
  if (format !== FORMAT) throw damaged(path);
  if (version !== VERSION)
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${path} is of version ${String(version)}; this library reads version ${VERSION}: update kpop-native`,
    );
  if (!Array.isArray(interventions)) throw damaged(path);
  return interventions.map((record: unknown) => {
    if (!isJsonObject(record)) throw damaged(path);
    const { name, version: kind, settings } = record;
    if (typeof name !== "string" || !Number.isSafeInteger(kind) || !isJsonObject(settings))
      throw damaged(path);
    return { name, version: kind as number, settings };
  });
}

/** The file's text. */
export function formatInterventions(records: readonly InterventionRecord[]): string {
  const interventions = records.map(({ name, version, settings }) => ({ name, version, settings }));
  return formatJson({ format: FORMAT, version: VERSION, interventions });
}

function damaged(path: string): KpopError {
  return new KpopError("INVALID_CHECKPOINT", `${path} is a damaged list of interventions`);
}
