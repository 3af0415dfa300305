import { KpopError } from "../errors";
import type { KpopErrorCode } from "../errors";

const CODES: Readonly<Record<string, KpopErrorCode>> = {
  ENOENT: "NOT_FOUND",
  ENOSPC: "NO_SPACE",
  EDQUOT: "NO_SPACE",
  ENOTEMPTY: "OUTPUT_NOT_EMPTY",
};

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "it does not exist",
  ENOSPC: "the disk is full; free some space or choose another place",
  EDQUOT: "the disk quota is used up; free some space or choose another place",
  ENOTEMPTY: "the folder is not empty",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of the path is not a folder",
  EMFILE: "too many files are open",
  ENAMETOOLONG: "the path is too long",
};

/** Turns what the file system threw into a `KpopError` that names the path; passes other errors on unchanged.
 *  @param doing completes "Cannot …", for example "read" or "write" */
export function systemError(error: unknown, doing: string, path: string): unknown {
  // What Node says of a path with NUL in it, before any system call.
  if (isNodeError(error) && error.code === "ERR_INVALID_ARG_VALUE")
    return new KpopError("INVALID_ARGUMENT", `Cannot ${doing} ${path}: a path has no NUL characters`, {
      cause: error,
    });
  if (!isSystemError(error)) return error;
  const reason = REASONS[error.code] ?? error.message;
  return new KpopError(CODES[error.code] ?? "IO_ERROR", `Cannot ${doing} ${path}: ${reason}`, {
    cause: error,
  });
}

/** Told by its fields, not by its class: errors of another realm (a vm context) have another `Error`. */
function isSystemError(error: unknown): error is { code: string; message: string } {
  return isNodeError(error) && "syscall" in error;
}

function isNodeError(error: unknown): error is { code: string; message: string } {
  return typeof error === "object" && error !== null && "code" in error;
}

/** Runs `work`; file system failures come out as `KpopError` (NOT_FOUND, NO_SPACE, OUTPUT_NOT_EMPTY, IO_ERROR). */
export async function onDisk<T>(doing: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw systemError(error, doing, path);
  }
}
