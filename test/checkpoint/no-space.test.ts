import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { golden } from "../support/golden";
import { resultOf, runProgram } from "../support/program";
import { temporaryDirectory } from "../support/temporary-directory";

// A file system of 512 KiB, in a mount namespace of its own, so that no privilege is needed.
const MOUNT = 'mount -t tmpfs -o size=512k none "$1" && shift && exec "$@"';
const small = (folder: string): string[] => [
  "unshare",
  "--user",
  "--map-root-user",
  "--mount",
  "sh",
  "-c",
  MOUNT,
  "sh",
  folder,
];

/** Why no small file system can be mounted here; null where one can. */
function obstacle(): string | null {
  const [command, ...args] = [...small("/mnt"), "true"];
  const { status, error, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status === 0) return null;
  return error?.message ?? (stderr.trim() || `unshare ended with ${status}`);
}

const reason = obstacle();

describe(`a small disk${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
  (reason === null ? it : it.skip)("is refused before any work is spent on what it cannot hold", () => {
    const folder = temporaryDirectory();
    const cli = [
      process.execPath,
      join(__dirname, "../../dist/cli.js"),
      "erase",
      "pocket",
      "--concept",
      "church",
    ];
    const look = `"$@"; echo "exit $?"; ls -A ${folder}`;
    const [command, ...args] = [
      ...small(folder),
      "sh",
      "-c",
      look,
      "sh",
      ...cli,
      "--out",
      join(folder, "a/out"),
    ];
    const { stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
    expect(stderr).toMatch(
      /^error: Cannot write \S+: it takes \d+ MB, and \S+ has 0\.\d MB left; free some space/,
    );
    expect(stderr).not.toContain("Loading");
    expect(stdout).toBe("exit 1\n");
  });
});

describe(`a full disk${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
  (reason === null ? it : it.skip)(
    "is named as such whatever is saved, and nothing is left half written",
    async () => {
      const folder = temporaryDirectory();
      const result = await runProgram("save-without-space.mjs", [golden("small"), folder], {
        under: small(folder),
      });
      const ways = [
        "diffusers",
        "single-file",
        "delta",
        "model",
        "key",
        "locked key",
        "tensors",
        "picture",
        "state",
      ];
      expect(resultOf(result)).toEqual(Object.fromEntries(ways.map((way) => [way, ["NO_SPACE", []]])));
    },
  );
});
