import { spawnSync } from "node:child_process";

const SCRIPT = `
import json, sys
found = {"python": sys.version.split()[0]}
for name in ("torch", "diffusers"):
    found[name] = __import__(name).__version__
print(json.dumps(found))
`;

/** The versions of a Python's torch and diffusers, or the last words of why it has them not. */
export function examinePeer(python: string): { versions: Record<string, string> } | { missing: string } {
  const { status, stdout, stderr, error } = spawnSync(python, ["-c", SCRIPT], { encoding: "utf8" });
  if (status === 0)
    return { versions: JSON.parse(stdout.trim().split("\n").at(-1)!) as Record<string, string> };
  return { missing: error?.message ?? stderr.trim().split("\n").at(-1) ?? `${python} ended with ${status}` };
}
