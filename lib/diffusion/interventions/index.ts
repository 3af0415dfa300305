import { KpopError } from "../../errors";
import { readTensors } from "../../io/checkpoint-tensors";
import type { CheckpointSource, InterventionRecord } from "../../io/checkpoint-types";
import type { UNet2DConditionModel } from "../../models/unet";
import { scope, unscoped } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import type { Intervention, StoredIntervention } from "./intervention";
import { readDumo } from "./dumo";
import { readSaeuron } from "./saeuron";
import { readSld } from "./sld";

/** Makes an intervention of what a file says, which anyone may have written. @throws KpopError */
type Reader = (stored: StoredIntervention, unet: UNet2DConditionModel) => Intervention;

const READERS: Readonly<Record<string, Reader>> = Object.freeze({
  sld: readSld,
  saeuron: readSaeuron,
  dumo: readDumo,
});
/** Errors of readers, which do not know where what they read comes from. */
const NAMELESS = ["INVALID_ARGUMENT", "INVALID_CHECKPOINT"];

/**
 * Interventions as a model carries them.
 * @param model that is to carry them
 * @throws UNSUPPORTED_FORMAT (one that is not known, or newer), INVALID_CHECKPOINT, IO_ERROR, ABORTED
 */
export async function openInterventions(
  { path: where, interventions: records = [] }: CheckpointSource,
  model: { readonly unet: UNet2DConditionModel; readonly device: string },
  signal?: AbortSignal,
): Promise<Intervention[]> {
  const opened: Intervention[] = [];
  const held: Tensor[] = [];
  try {
    for (const record of records) {
      const reader = readerOf(record, where);
      const tensors = await tensorsOf(record, model.device, signal);
      held.push(...tensors.values());
      const intervention = reader({ ...record, tensors }, model.unet);
      checkHeld(intervention, tensors);
      opened.push(intervention);
    }
    return opened;
  } catch (cause) {
    for (const tensor of held) tensor.dispose();
    if (!(cause instanceof KpopError) || !NAMELESS.includes(cause.code)) throw cause;
    const { name } = records[opened.length]!;
    throw new KpopError("INVALID_CHECKPOINT", `${where}: intervention "${name}": ${cause.message}`, {
      cause,
    });
  }
}

function readerOf({ name }: InterventionRecord, where: string): Reader {
  if (Object.hasOwn(READERS, name)) return READERS[name]!;
  throw new KpopError(
    "UNSUPPORTED_FORMAT",
    `${where} denoises with the intervention ${JSON.stringify(name)}, which this library does not know (it has ${Object.keys(READERS).join(", ")}): update kpop-native`,
  );
}

function checkHeld({ tensors: held = new Map() }: Intervention, read: ReadonlyMap<string, Tensor>): void {
  if (held.size === read.size) return;
  throw new KpopError("INVALID_CHECKPOINT", `Expected ${held.size} tensors but there are ${read.size}`);
}

async function tensorsOf(
  { tensors = new Map() }: InterventionRecord,
  device: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, Tensor>> {
  return await unscoped(() =>
    scope(async () => {
      const read = await readTensors(tensors, signal === undefined ? {} : { signal });
      return new Map([...read].map(([name, tensor]) => [name, tensor.to({ dtype: "float32", device })]));
    }),
  );
}
