import { searchLibtorch } from "../libtorch";
import type { FoundLibtorch } from "../libtorch";
import { TORCH_VERSION } from "../torch-version";
import { installRuntime } from "./install-runtime";
import type { InstallProgress } from "./install-runtime";

/**
 * A libtorch that the add-on can be built against; the pinned CPU one is installed when none is found. One that
 * KPOP_LIBTORCH names may be of any version: the add-on is then built for that. `scripts/setup.mjs` calls this.
 * @throws what `searchLibtorch` and `installRuntime` throw
 */
export async function ensureLibtorch(
  onProgress?: (progress: InstallProgress) => void,
): Promise<FoundLibtorch> {
  const request = { headers: true, version: process.env.KPOP_LIBTORCH ? null : TORCH_VERSION };
  const before = searchLibtorch(request).found;
  if (before !== null) return before;
  const options = { flavour: "cpu" as const, ...(onProgress && { onProgress }) };
  // The active Python's torch fits at run time, but has just been refused: it has no headers.
  if ((await installRuntime(options)).source === "python") await installRuntime({ ...options, force: true });
  const after = searchLibtorch(request);
  if (after.found === null)
    throw new Error(`The libtorch just installed is refused: ${after.refused.join("; ")}`);
  return after.found;
}
