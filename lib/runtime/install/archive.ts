import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { KpopError } from "../../errors";

/** How an archive is packed, by its name. @throws UNSUPPORTED_FORMAT */
export function archiveKind(path: string): "zip" | "tar" {
  if (/\.(?:whl|zip)$/.test(path)) return "zip";
  if (/\.(?:tar|tgz|tar\.\w+)$/.test(path)) return "tar";
  throw unsupported(path);
}

/** Looks at an archive that a user named, before anything is done with it.
 *  @throws NOT_FOUND, UNSUPPORTED_FORMAT, IO_ERROR */
export async function checkArchive(path: string): Promise<void> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new KpopError("NOT_FOUND", `The archive ${path} does not exist`, { cause });
  });
  archiveKind(path);
  if (!found.isFile()) throw unsupported(path);
  await access(path, constants.R_OK).catch((cause: unknown) => {
    throw new KpopError("IO_ERROR", `The archive ${path} may not be read: permission denied`, { cause });
  });
}

function unsupported(path: string): KpopError {
  return new KpopError(
    "UNSUPPORTED_FORMAT",
    `Expected a torch wheel (.whl) or a libtorch archive (.zip, .tar, .tar.gz) but received ${path}`,
  );
}
