import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { KpopError } from "../errors";
import { runtimeDirectory } from "./cache-directory";
import { inspectLibtorch } from "./libtorch-directory";
import type { Libtorch } from "./libtorch-directory";
import { nvidiaState } from "./nvidia";
import { TORCH_VERSION } from "./torch-version";

/** Where a libtorch was found: named by the user, installed by `install-runtime`, of the active Python, or system-wide. */
export type LibtorchSource = "KPOP_LIBTORCH" | "runtime" | "python" | "system";

export interface FoundLibtorch extends Libtorch {
  source: LibtorchSource;
}

export interface LibtorchRequest {
  /** The release that the add-on was built for; null takes any. Default: the pinned one. */
  version?: string | null;
  /** Only one that the add-on can be built against; default false. */
  headers?: boolean;
  env?: NodeJS.ProcessEnv;
}

export interface LibtorchSearch {
  found: FoundLibtorch | null;
  /** One sentence for each place that holds a libtorch which was passed over. */
  refused: string[];
}

const SYSTEM_FOLDERS = [
  "/usr/local/libtorch",
  "/opt/libtorch",
  "/usr/local/lib",
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib64",
  "/usr/lib",
];

/**
 * The first acceptable libtorch of: KPOP_LIBTORCH, the runtime that `install-runtime` installed, the active Python's
 * torch, the system's library folders (LD_LIBRARY_PATH first). Nothing is loaded.
 * @throws LIBTORCH_MISSING or LIBTORCH_INCOMPATIBLE when KPOP_LIBTORCH is set and cannot be used: it is never skipped
 */
export function searchLibtorch(request: LibtorchRequest = {}): LibtorchSearch {
  const env = request.env ?? process.env;
  const refused: string[] = [];
  if (env.KPOP_LIBTORCH) return { found: named(env.KPOP_LIBTORCH, request), refused };
  for (const [source, folder] of places(request.version ?? TORCH_VERSION, env)) {
    try {
      return { found: { ...accepted(folder, request), source }, refused };
    } catch (error) {
      if (!(error instanceof KpopError)) throw error;
      if (error.code !== "LIBTORCH_MISSING") refused.push(error.message);
    }
  }
  return { found: null, refused };
}

/** `searchLibtorch` for those who cannot go on without. @throws LIBTORCH_MISSING with the places that were passed over */
export function findLibtorch(request: LibtorchRequest = {}): FoundLibtorch {
  const { found, refused } = searchLibtorch(request);
  if (found !== null) return found;
  const release = request.version === null ? "" : ` ${request.version ?? TORCH_VERSION}`;
  const passed = refused.length === 0 ? "" : ` (passed over: ${refused.join("; ")})`;
  // Only the pinned release can be installed; an add-on built for another needs that one.
  const remedy =
    (request.version ?? TORCH_VERSION) === TORCH_VERSION
      ? "run `npx kpop-native install-runtime`, or set KPOP_LIBTORCH to the folder of one"
      : "set KPOP_LIBTORCH to the folder of one, or rebuild the add-on with `npm run build`";
  throw new KpopError("LIBTORCH_MISSING", `No libtorch${release} was found${passed}; ${remedy}`);
}

/** The active Python's torch when it is of the pinned release and looks whole; null otherwise. Nothing is loaded. */
export function pythonLibtorch(env: NodeJS.ProcessEnv = process.env): FoundLibtorch | null {
  const folder = pythonTorch(env);
  if (folder === null) return null;
  try {
    const libtorch = accepted(folder, {});
    return libtorch.version === TORCH_VERSION ? { ...libtorch, source: "python" } : null;
  } catch (error) {
    if (error instanceof KpopError) return null;
    throw error;
  }
}

/** Places in order; the costly one (starting Python) is reached only when those before it gave nothing. */
function* places(version: string, env: NodeJS.ProcessEnv): Generator<[LibtorchSource, string]> {
  const { driver, deviceFiles } = nvidiaState();
  const flavours = driver !== null || deviceFiles ? (["cuda", "cpu"] as const) : (["cpu", "cuda"] as const);
  for (const flavour of flavours) {
    yield ["runtime", join(runtimeDirectory(version, flavour, env), "torch")];
  }
  const python = pythonTorch(env);
  if (python !== null) yield ["python", python];
  const listed = (env.LD_LIBRARY_PATH ?? "").split(":").filter((folder) => folder !== "");
  for (const folder of [...listed, ...SYSTEM_FOLDERS]) yield ["system", folder];
}

/** The folder of the torch that `import torch` would take, found without importing it; null when there is none. */
function pythonTorch(env: NodeJS.ProcessEnv): string | null {
  const script =
    "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')";
  const run = spawnSync("python3", ["-c", script], { env, encoding: "utf8", timeout: 20_000 });
  const folder = run.status === 0 ? run.stdout.trim() : "";
  return folder === "" ? null : folder;
}

function named(folder: string, request: LibtorchRequest): FoundLibtorch {
  try {
    return { ...accepted(folder, request), source: "KPOP_LIBTORCH" };
  } catch (error) {
    if (!(error instanceof KpopError)) throw error;
    const joint = error.message.includes("; ") ? ", or" : ";";
    throw new KpopError(
      error.code,
      `KPOP_LIBTORCH cannot be used: ${error.message}${joint} point it at another libtorch, or unset it`,
      { cause: error },
    );
  }
}

function accepted(folder: string, request: LibtorchRequest): Libtorch {
  const libtorch = inspectLibtorch(folder);
  const { directory, version } = libtorch;
  const wanted = request.version === undefined ? TORCH_VERSION : request.version;
  if (wanted !== null && version !== null && version !== wanted) {
    throw new KpopError(
      "LIBTORCH_INCOMPATIBLE",
      `the libtorch at ${directory} is ${version} but ${wanted} is needed`,
    );
  }
  if (request.headers && (!libtorch.hasHeaders || version === null)) {
    throw new KpopError(
      "LIBTORCH_INCOMPATIBLE",
      `the libtorch at ${directory} has no include/ to build against`,
    );
  }
  return libtorch;
}
