import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { withLock } from "../../../lib/files/lock";
import { stateOf, thisHolder } from "../../../lib/files/lock-holder";
import type { LockHolder } from "../../../lib/files/lock-holder";
import { changedFiles, readRuntimeRecord } from "../../../lib/runtime/install/record";
import { fakeWheel } from "../../support/fake-wheel";
import { installerProcess, resultOf } from "../../support/installer-process";
import { packageCopy } from "../../support/package-copy";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();

/** A lock file as a holder left it, last touched so many seconds ago. */
function lockOf(holder: Partial<LockHolder>, path = join(folder(), "lock"), seconds = 0): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify({ ...thisHolder(), ...holder }));
  const touched = new Date(Date.now() - seconds * 1000);
  utimesSync(path, touched, touched);
  return path;
}

/** Whether the lock is had within a moment. */
async function taken(path: string): Promise<boolean> {
  const signal = AbortSignal.timeout(700);
  try {
    await withLock(path, () => Promise.resolve(), { signal });
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: "ABORTED" });
    return false;
  }
}

const GONE = { pid: 4_194_305, started: "1" };
const ELSEWHERE = { place: "another boot pid:[1]" };

describe("withLock", () => {
  it("runs one at a time and leaves no file", async () => {
    const path = join(folder(), "deep", "lock");
    let running = 0;
    const waits: string[] = [];
    const work = async () => {
      expect(++running).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 50));
      running--;
    };
    const onWait = (holder: string) => void waits.push(holder);
    await Promise.all([1, 2, 3].map(async () => await withLock(path, work, { onWait })));
    expect(waits.length).toBeGreaterThanOrEqual(2);
    expect(waits[0]).toContain(`process ${process.pid} on `);
    expect(readdirSync(dirname(path))).toEqual([]);
  });

  it("frees the lock when the work fails", async () => {
    const path = join(folder(), "lock");
    await expect(withLock(path, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(existsSync(path)).toBe(false);
  });

  it("takes over at once from a process of this machine that is gone", async () => {
    expect(await taken(lockOf(GONE))).toBe(true);
  });

  it("leaves it to a living process, however long that was suspended", async () => {
    expect(await taken(lockOf({}, undefined, 3600))).toBe(false);
  });

  it("leaves it to a process of another machine or container while its heartbeat goes on", async () => {
    expect(await taken(lockOf({ ...GONE, ...ELSEWHERE }, undefined, 10))).toBe(false);
    expect(await taken(lockOf({ ...GONE, ...ELSEWHERE }, undefined, 40))).toBe(true);
  });

  it("takes over a lock that says nothing, once it is old", async () => {
    const path = join(folder(), "lock");
    writeFileSync(path, "");
    expect(await taken(path)).toBe(false);
    const longAgo = new Date(Date.now() - 60_000);
    utimesSync(path, longAgo, longAgo);
    expect(await taken(path)).toBe(true);
  });

  it("is not held up by one that was killed while taking over", async () => {
    const path = lockOf(GONE);
    lockOf(GONE, `${path}.turn`);
    expect(await taken(path)).toBe(true);
    expect(readdirSync(dirname(path))).toEqual([]);
  });

  it("does not remove a lock that another has taken over", async () => {
    const path = join(folder(), "lock");
    await withLock(path, () => Promise.resolve(void lockOf({ token: "another" }, path)));
    expect(existsSync(path)).toBe(true);
  });
});

describe("stateOf", () => {
  it("sees through a process number that was given out again", () => {
    expect(stateOf(thisHolder())).toBe("alive");
    expect(stateOf({ ...thisHolder(), started: "1" })).toBe("gone");
    expect(stateOf({ ...thisHolder(), ...ELSEWHERE })).toBe("unseen");
  });

  it("knows a killed process that its parent has not taken note of", async () => {
    // The child ends once the shell has become a program that never asks for it.
    const child = "(until grep -q ^sleep /proc/$$/comm; do sleep 0.05; done) & echo $!";
    const shell = spawn("sh", ["-c", `${child}; exec sleep 60`], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const pid = await new Promise<number>((resolve) =>
        shell.stdout.once("data", (text) => resolve(Number(text))),
      );
      let fields: string[];
      do {
        await new Promise((resolve) => setTimeout(resolve, 50));
        fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(" ");
      } while (fields[2] !== "Z");
      expect(stateOf({ ...thisHolder(), pid, started: fields[21]! })).toBe("gone");
    } finally {
      shell.kill();
    }
  });
});

describe("processes that install at the same time", () => {
  let root: string;
  beforeAll(() => (root = packageCopy(folder())));

  async function installAtOnce(cache: string, count: number) {
    const from = fakeWheel(folder(), { filling: Buffer.alloc(16 * 2 ** 20, 5) });
    const all = Array.from({ length: count }, () =>
      installerProcess(root, { from }, { XDG_CACHE_HOME: cache }),
    );
    const results = await Promise.all(all.map(resultOf));
    const output = (await Promise.all(all.map(({ ended }) => ended))).map(({ stdout }) => stdout);
    const runtimes = join(cache, "kpop-native/runtime");
    const target = join(runtimes, "torch-2.13.0-cpu");
    expect(readdirSync(runtimes)).toEqual(["torch-2.13.0-cpu"]);
    expect(await changedFiles(target, readRuntimeRecord(target)!)).toEqual([]);
    return { installed: results.map((result) => result.installed), output };
  }

  it("give a whole runtime to each: one installs, the other says that it waits", async () => {
    const { installed, output } = await installAtOnce(folder(), 2);
    expect(installed.sort()).toEqual([false, true]);
    expect(output.filter((text) => /"wait".*waiting for process \d+/.test(text))).toHaveLength(1);
  });

  it("take over the lock of a killed one only once between them", async () => {
    const cache = folder();
    lockOf(GONE, join(cache, "kpop-native/runtime/.torch-2.13.0-cpu.lock"));
    const { installed } = await installAtOnce(cache, 4);
    expect(installed.filter((each) => each)).toHaveLength(1);
  });
});
