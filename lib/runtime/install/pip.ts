import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../../errors";
import { runChild } from "./child";

export interface WheelRequest {
  version: string;
  flavour: "cpu" | "cuda";
  /** A package index in the place of pip's own; default: KPOP_TORCH_INDEX_URL, else pip's configuration. */
  indexUrl?: string | undefined;
  /** Where pip keeps what is on its way; its own choice, /tmp, may be smaller than a wheel. */
  temporary: string;
  signal?: AbortSignal | undefined;
  onProgress?: (message: string, done?: number, total?: number) => void;
}

/**
 * Downloads the wheel of torch into `folder` through the active Python's pip; for CUDA, the wheels of the CUDA
 * libraries too. Wheels are taken apart by `unpackLibtorch`, so nothing is installed into the Python.
 * @returns paths of the wheels that hold libraries
 * @throws LIBTORCH_MISSING when pip fails, or offers a CUDA build where the CPU one was asked for; IO_ERROR when what
 *   came is not what the index gives the SHA-256 of
 */
export async function downloadWheels(folder: string, request: WheelRequest): Promise<string[]> {
  const pip = await pipVersion(request.signal);
  const requirement = `torch==${request.version}`;
  const index = request.indexUrl ?? process.env.KPOP_TORCH_INDEX_URL;
  const common = [
    ...(index ? ["--index-url", index] : []),
    // Since pip 25.1 a broken connection need not be the end; before, the next try starts anew.
    ...(pip >= 25.1 ? ["--resume-retries", "5"] : []),
  ];
  const run = async (...args: string[]) =>
    await runChild("python3", ["-m", "pip", ...args, ...common], {
      signal: request.signal,
      env: {
        ...process.env,
        PIP_DISABLE_PIP_VERSION_CHECK: "1",
        PIP_NO_INPUT: "1",
        // Nothing goes into the Python, so that it need not be a virtual one.
        PIP_REQUIRE_VIRTUALENV: "0",
        TMPDIR: request.temporary,
      },
      onLine: (line) => report(line, request.onProgress),
    }).catch((error: unknown) => {
      throw isDamage(error) ? damaged(requirement, error) : error;
    });
  await mkdir(request.temporary, { recursive: true });
  if (request.flavour === "cpu" && pip >= 22.2) {
    request.onProgress?.(`asking pip for ${requirement}`);
    const plan = await run(
      ..."install --dry-run --ignore-installed --no-deps --quiet --report -".split(" "),
      requirement,
    );
    if (needsCuda(plan)) throw cudaOffered(request.version);
  }
  await mkdir(folder, { recursive: true });
  request.onProgress?.(`downloading ${requirement}`);
  const bar = pip >= 24.1 ? "raw" : "off";
  await run(
    ..."download --only-binary=:all: --progress-bar".split(" "),
    bar,
    "--dest",
    folder,
    ...(request.flavour === "cpu" ? ["--no-deps"] : []),
    requirement,
  );
  const wheels = (await readdir(folder)).filter((name) => /^(?:torch-|nvidia_).*\.whl$/.test(name));
  return wheels.map((name) => join(folder, name));
}

/** The sentence for a CPU-only wish on an index whose plain build is the CUDA one. */
export function cudaOffered(version: string): KpopError {
  return new KpopError(
    "LIBTORCH_MISSING",
    `The package index offers only the CUDA build of torch ${version}, which needs several GB of CUDA packages; name an index that carries the CPU build with KPOP_TORCH_INDEX_URL or --index-url (pytorch.org's "Get Started" page gives it), take the CUDA one with \`npx kpop-native install-runtime --cuda\`, or set KPOP_LIBTORCH to a libtorch you have`,
  );
}

async function pipVersion(signal: AbortSignal | undefined): Promise<number> {
  try {
    const words = await runChild("python3", ["-m", "pip", "--version"], { signal });
    const [, major = "0", minor = "0"] = /pip (\d+)\.(\d+)/.exec(words) ?? [];
    return Number(`${major}.${minor}`);
  } catch (error) {
    if (error instanceof KpopError && error.code === "ABORTED") throw error;
    throw new KpopError(
      "LIBTORCH_MISSING",
      "libtorch is downloaded through pip but `python3 -m pip` does not run here; install Python 3 with pip, give an archive with --from FILE, or set KPOP_LIBTORCH to a libtorch you have",
      { cause: error },
    );
  }
}

/** Pip compares each file with the SHA-256 that the index gives for it. */
function isDamage(error: unknown): boolean {
  return error instanceof KpopError && /DO NOT MATCH THE HASHES/.test(error.message);
}

function damaged(requirement: string, cause: unknown): KpopError {
  return new KpopError(
    "IO_ERROR",
    `The download of ${requirement} is refused: its SHA-256 is not the one that the package index gives, so it was damaged or changed on the way; try again, or name another index with --index-url`,
    { cause },
  );
}

/** Reads pip's installation report (its documented JSON format, version 1). */
function needsCuda(plan: string): boolean {
  const { install } = JSON.parse(plan) as { install?: { metadata?: { requires_dist?: string[] } }[] };
  const requirements = install?.[0]?.metadata?.requires_dist ?? [];
  return requirements.some((requirement) => /^(?:nvidia-|cuda-toolkit)/.test(requirement));
}

function report(line: string, onProgress: WheelRequest["onProgress"]): void {
  const [, done, total] = /^Progress (\d+) of (\d+)$/.exec(line) ?? [];
  if (done !== undefined && total !== undefined) onProgress?.("downloading", Number(done), Number(total));
  else if (/^(?:Collecting|Downloading|Saved|Looking)/.test(line)) onProgress?.(line);
}
