import { spawnSync } from "node:child_process";

/** The Python whose PyTorch and diffusers we are measured against. */
export const PYTHON = process.env["KPOP_PYTHON"] ?? "python3";

/** The versions of Python and of some of its modules, or the last words of why it has them not. */
export function examinePeer(
  modules: readonly string[],
): { versions: Record<string, string> } | { missing: string } {
  const script = `
import json, sys
found = {"python": sys.version.split()[0]}
for name in ${JSON.stringify(modules)}:
    found[name] = __import__(name).__version__
print(json.dumps(found))`;
  const { status, stdout, stderr, error } = spawnSync(PYTHON, ["-c", script], { encoding: "utf8" });
  if (status === 0)
    return { versions: JSON.parse(stdout.trim().split("\n").at(-1)!) as Record<string, string> };
  return { missing: error?.message ?? stderr.trim().split("\n").at(-1) ?? `${PYTHON} ended with ${status}` };
}
