import { KpopError } from "../../errors";
import type { InterventionRecord } from "../../io/checkpoint-types";
import type { Intervention } from "./intervention";
import { readSld } from "./sld";

const READERS: Readonly<
  Record<string, (version: number, settings: Record<string, unknown>) => Intervention>
> = Object.freeze({ sld: readSld });

/** Interventions as a model carries them. @throws UNSUPPORTED_FORMAT (one that is not known, or newer), INVALID_CHECKPOINT */
export function openInterventions(records: readonly InterventionRecord[], where: string): Intervention[] {
  return records.map(({ name, version, settings }) => {
    const reader = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
    if (reader === undefined)
      throw new KpopError(
        "UNSUPPORTED_FORMAT",
        `${where} denoises with the intervention ${JSON.stringify(name)}, which this library does not know (it has ${Object.keys(READERS).join(", ")}): update kpop-native`,
      );
    try {
      return reader(version, { ...settings });
    } catch (cause) {
      if (!(cause instanceof KpopError) || cause.code === "UNSUPPORTED_FORMAT") throw cause;
      throw new KpopError("INVALID_CHECKPOINT", `${where}: intervention "${name}": ${cause.message}`, {
        cause,
      });
    }
  });
}
