import { dirname } from "node:path";
import { knownKeys } from "../check";
import { KpopError } from "../errors";
import { findAddonFiles } from "./addon-files";
import type { AddonFiles } from "./addon-files";
import { checkNativeFile, openLoader } from "./binding";
import { busyCheck, machineLoad } from "./busy-check";
import { gpuCheck } from "./gpu-check";
import type { DoctorCheck } from "./gpu-check";
import { findLibtorch } from "./libtorch";
import type { FoundLibtorch, LibtorchSource } from "./libtorch";
import { diagnoseLinker } from "./linker-words";
import { nvidiaState } from "./nvidia";
import { OLDEST_GLIBC, checkPlatform, glibcVersion } from "./platform";
import { probeNative } from "./probe";
import { replaceLibtorch } from "./remedies";
import { changedFiles, readRuntimeRecord } from "./install/record";

export type { DoctorCheck } from "./gpu-check";

/** What `doctor` found; plain data, as `kpop-native doctor --json` prints it. */
export interface DoctorReport {
  /** Whether the library can work here. */
  ok: boolean;
  /** In order; the first that is not ok ends the examination. */
  checks: DoctorCheck[];
  node: string;
  platform: string;
  glibc: string | null;
  addon: { kind: "local" | "prebuild"; path: string } | null;
  libtorch: { path: string; version: string | null; source: LibtorchSource; flavour: "cpu" | "cuda" } | null;
  /** ATen's name of the instruction set that its kernels use, such as "AVX512". */
  cpuCapability: string | null;
  devices: string[];
  threads: number | null;
}

/** Options of `doctor`. */
export interface DoctorOptions {
  /** How long the child process that loads libtorch may take, in milliseconds; default 120 000. */
  timeoutMs?: number;
}

/**
 * Finds the native files and libtorch as the library does, loads them in a child process, and says what is wrong and
 * how to mend it. What is wrong is in the report; only a bad argument throws (INVALID_ARGUMENT).
 */
export async function doctor(options: DoctorOptions = {}): Promise<DoctorReport> {
  knownKeys("doctor options", options, ["timeoutMs"]);
  const report: DoctorReport = {
    ok: false,
    checks: [],
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    glibc: process.platform === "linux" ? glibcVersion() : null,
    addon: null,
    libtorch: null,
    cpuCapability: null,
    devices: [],
    threads: null,
  };
  try {
    await examine(report, options);
    report.ok = true;
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    report.checks.push(error.check);
  }
  return report;
}

/** Ends the examination with a check that failed. */
class Finding extends Error {
  constructor(readonly check: DoctorCheck) {
    super(check.found);
  }
}

async function examine(report: DoctorReport, options: DoctorOptions): Promise<void> {
  const pass = (name: string, found: string): void => void report.checks.push({ name, ok: true, found });

  attempt("platform", () => checkPlatform());
  pass(
    "platform",
    `${report.platform}, glibc ${report.glibc} (needed: ${OLDEST_GLIBC}), Node ${report.node}`,
  );

  const files = attempt("addon", () => findAddonFiles());
  report.addon = { kind: files.kind, path: files.addon };
  attempt("addon", () => checkNativeFile(files.addon));
  const { builtForTorch } = attempt("addon", () => openLoader(files));
  pass("addon", `${files.kind} build for libtorch ${builtForTorch} at ${files.addon}`);

  const libtorch = attempt("libtorch", () => findLibtorch({ version: builtForTorch }));
  const { directory, version, source, flavour } = libtorch;
  report.libtorch = { path: directory, version, source, flavour };
  pass("libtorch", `${version ?? "unknown version"} (${flavour}) at ${directory}, from ${WHENCE[source]}`);

  await checkFiles(libtorch, pass);
  await load(report, { files, libtorch, builtForTorch }, options, pass);
  report.checks.push(busyCheck(report.threads!, machineLoad()));
  report.checks.push(gpuCheck(report.devices.slice(1), flavour, nvidiaState()));
}

const WHENCE: Record<LibtorchSource, string> = {
  KPOP_LIBTORCH: "KPOP_LIBTORCH",
  runtime: "install-runtime",
  python: "the active Python",
  system: "the system's libraries",
};

async function checkFiles(
  libtorch: FoundLibtorch,
  pass: (name: string, found: string) => void,
): Promise<void> {
  const runtime = dirname(libtorch.directory);
  const record = libtorch.source === "runtime" ? readRuntimeRecord(runtime) : null;
  if (record === null) return;
  const changed = await changedFiles(runtime, record);
  if (changed.length > 0) {
    throw fault("files", `not as installed: ${changed.join(", ")}`, replaceLibtorch(libtorch));
  }
  pass("files", `${Object.keys(record.files).length} libraries as installed (SHA-256)`);
}

async function load(
  report: DoctorReport,
  { files, libtorch, builtForTorch }: { files: AddonFiles; libtorch: FoundLibtorch; builtForTorch: string },
  options: DoctorOptions,
  pass: (name: string, found: string) => void,
): Promise<void> {
  const started = performance.now();
  const result = await probeNative(files, libtorch, options.timeoutMs);
  const version = result.version ?? libtorch.version;
  // Before the linker's words, which of another version only say that symbols are missing.
  if (version !== builtForTorch && (result.ok || version !== null)) {
    const found = `libtorch ${version ?? "of an unknown version"}, but the add-on was built for ${builtForTorch}`;
    throw fault("load", found, replaceLibtorch(libtorch));
  }
  if (!result.ok && result.how === "ended") {
    throw fault("load", `${result.path}: ${result.words}`, replaceLibtorch(libtorch));
  }
  if (!result.ok) {
    const { meaning, remedy } = diagnoseLinker(
      result.words,
      result.path === files.addon ? "addon" : libtorch,
    );
    throw fault("load", `${result.path}: ${meaning} (${result.words})`, remedy);
  }
  report.cpuCapability = result.cpuCapability;
  report.threads = result.threads;
  report.devices = ["cpu", ...Array.from({ length: result.devices }, (_, i) => `cuda:${i}`)];
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  pass("load", `in ${seconds} s; CPU capability ${result.cpuCapability}, ${result.threads} threads`);
}

function fault(name: string, found: string, remedy?: string): Finding {
  return new Finding({ name, ok: false, found, ...(remedy !== undefined && { remedy: capital(remedy) }) });
}

function attempt<T>(name: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (!(error instanceof KpopError)) throw error;
    throw fault(name, ...split(error.message));
  }
}

/** The library's sentences end in what to do, after the last semicolon. */
function split(message: string): [string, string?] {
  const at = message.lastIndexOf("; ");
  return at < 0 ? [message] : [message.slice(0, at), message.slice(at + 2)];
}

function capital(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}
