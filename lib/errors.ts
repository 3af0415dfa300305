/** What went wrong, for programs; the message says it for people. */
export type KpopErrorCode =
  | "INVALID_ARGUMENT"
  | "INVALID_CHECKPOINT"
  | "INVALID_SAFETENSORS"
  | "INVALID_KEY"
  | "INVALID_CERTIFICATE"
  | "UNSUPPORTED_FORMAT"
  | "UNSUPPORTED_MODEL"
  | "NOT_FOUND"
  | "ACCESS_DENIED"
  | "NETWORK_ERROR"
  | "PACKAGE_MISSING"
  | "OUTPUT_NOT_EMPTY"
  | "NO_SPACE"
  | "IO_ERROR"
  | "LIBTORCH_MISSING"
  | "LIBTORCH_INCOMPATIBLE"
  | "ADDON_MISSING"
  | "DEVICE_UNAVAILABLE"
  | "OUT_OF_MEMORY"
  | "NUMERIC_FAILURE"
  | "DISPOSED"
  | "ABORTED"
  | "NATIVE_FAILURE";

/** The one error class of the library: a stable `code` and one sentence that says what to do. */
export class KpopError extends Error {
  override readonly name = "KpopError";
  readonly code: KpopErrorCode;
  /** The operation that failed, where that is not plain from the call. */
  readonly operation?: string;

  constructor(code: KpopErrorCode, message: string, options?: { cause?: unknown; operation?: string }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options?.operation !== undefined) this.operation = options.operation;
  }
}

/** Throws `ABORTED` when the signal has fired; call it between steps of a long job. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new KpopError("ABORTED", "The operation was aborted", { cause: signal.reason });
}
