export { KpopError } from "./errors";
export type { KpopErrorCode } from "./errors";
export { doctor } from "./runtime/doctor";
export type { DoctorCheck, DoctorOptions, DoctorReport } from "./runtime/doctor";
export { installRuntime } from "./runtime/install/install-runtime";
export type {
  InstallProgress,
  InstallRuntimeOptions,
  InstalledRuntime,
} from "./runtime/install/install-runtime";
