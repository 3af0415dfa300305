import { readFileSync } from "node:fs";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

/**
 * What publint (strict) says against a package, and what "Are the types wrong?" says about how its types resolve
 * under node10, node16 (from CommonJS and from ES modules) and bundlers; one sentence each.
 */
export async function lintTarball(path) {
  const bytes = readFileSync(path);
  const tarball = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const { messages, pkg } = await publint({ pack: { tarball }, strict: true });
  const types = await checkPackage(createPackageFromTarballData(new Uint8Array(tarball)));
  if (types.types === false) return ["it has no types"];
  return [
    ...messages.map((message) => `publint: ${formatMessage(message, pkg, { color: false })}`),
    ...types.problems.map(({ kind, entrypoint = "", resolutionKind = "" }) =>
      `types: ${kind} ${entrypoint} ${resolutionKind}`.trim(),
    ),
  ];
}
