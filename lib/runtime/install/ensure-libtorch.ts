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
  // Forced, because what is there has just been refused.
  await installRuntime({ flavour: "cpu", force: true, ...(onProgress && { onProgress }) });
  const after = searchLibtorch(request);
  if (after.found === null)
    throw new Error(`The libtorch just installed is refused: ${after.refused.join("; ")}`);
  return after.found;
}
