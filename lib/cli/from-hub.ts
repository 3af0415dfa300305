import { download } from "../index";
import { say } from "./output";
import { Progress } from "./progress";

const MEGABYTE = 1e6;

/** What a command prints. */
interface Printing {
  /** Whether stdout carries JSON. */
  json?: boolean | undefined;
}

/**
 * A path as it was typed; what is named "hf:..." is downloaded first, and where it lies is given.
 * @throws what `download` throws
 */
export async function fromHub(
  typed: string,
  { json = false }: Printing,
  signal: AbortSignal,
): Promise<string> {
  if (!typed.startsWith("hf:")) return typed;
  say(`Looking for ${typed}`);
  const progress = new Progress("megabyte", json);
  const started = performance.now();
  let first: number | undefined;
  try {
    return await download(typed, {
      signal,
      onProgress({ file, bytes, totalBytes }) {
        first ??= bytes;
        const perSecond = ((bytes - first) / (performance.now() - started)) * 1000;
        const etaSeconds = perSecond > 0 ? (totalBytes - bytes) / perSecond : Infinity;
        const total = Math.ceil(totalBytes / MEGABYTE);
        // The last one counts when all has come.
        const done = bytes === totalBytes ? total : Math.min(Math.floor(bytes / MEGABYTE), total - 1);
        progress.update(done, total, file, etaSeconds);
      },
    });
  } finally {
    progress.stop();
  }
}

/** Flags whose paths may be names on a hub, with the places of what was downloaded. @throws what `download` throws */
export async function flagsFromHub<F extends Printing>(
  flags: F,
  names: readonly (keyof F)[],
  signal: AbortSignal,
): Promise<F> {
  const found = { ...flags };
  for (const name of names) {
    const typed = flags[name];
    if (typeof typed === "string") found[name] = (await fromHub(typed, flags, signal)) as F[keyof F];
  }
  return found;
}
