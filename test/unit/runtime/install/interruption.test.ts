import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { changedFiles, readRuntimeRecord } from "../../../../lib/runtime/install/record";
import { fakePython } from "../../../support/fake-libtorch";
import { fakeWheel } from "../../../support/fake-wheel";
import { installerProcess, resultOf } from "../../../support/installer-process";
import { packageCopy, runScript } from "../../../support/package-copy";
import type { Script } from "../../../support/package-copy";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();
let root: string;
let cache: string;

beforeAll(() => (root = packageCopy(folder())));
beforeEach(() => (cache = folder()));

const runtimes = () => join(cache, "kpop-native/runtime");
const target = () => join(runtimes(), "torch-2.13.0-cpu");

const installer = (options: object, env: NodeJS.ProcessEnv = {}): Script =>
  installerProcess(root, options, { XDG_CACHE_HOME: cache, ...env });

async function expectWhole(): Promise<void> {
  const record = readRuntimeRecord(target())!;
  expect(Object.keys(record.files)).toHaveLength(3);
  expect(await changedFiles(target(), record)).toEqual([]);
}

/** A pip that writes half a wheel and then takes its time, but not for ever. */
function slowPip(): NodeJS.ProcessEnv {
  const half = join(folder(), "half");
  writeFileSync(half, Buffer.alloc(1000));
  const python = fakePython(
    join(folder(), "bin"),
    `case "$*" in
       *--version*) echo "pip 24.2 from somewhere" ;;
       *--report*) echo '{"install":[{"metadata":{}}]}' ;;
       *download*) while [ "$1" != --dest ]; do shift; done
         cp ${half} "$2/torch-2.13.0.whl"; echo "Progress 50 of 100"; exec sleep 5 ;;
       *) exit 1 ;;
     esac`,
  );
  return { PATH: `${python}:${process.env.PATH}` };
}

describe("an installation", () => {
  it("killed while it downloads leaves no runtime, and the next one works", async () => {
    const first = installer({}, slowPip());
    await first.said('"done":50');
    first.child.kill("SIGKILL");
    expect(await first.ended).toMatchObject({ signal: "SIGKILL" });
    expect(existsSync(target())).toBe(false);
    expect(readdirSync(runtimes()).length).toBeGreaterThan(0);

    expect(await resultOf(installer({ from: fakeWheel(folder()) }))).toMatchObject({ installed: true });
    await expectWhole();
    expect(readdirSync(runtimes())).toEqual(["torch-2.13.0-cpu"]);
  });

  it("killed at any moment while it unpacks leaves the whole runtime or none, and the next one works", async () => {
    const from = fakeWheel(folder(), { filling: Buffer.alloc(8 * 2 ** 20, 7) });
    for (const moment of ["checksum of", "unpacking", "checking the libraries"]) {
      const first = installer({ from, force: true });
      await first.said(moment);
      first.child.kill("SIGKILL");
      await first.ended;
      if (existsSync(target())) await expectWhole();
      expect(await resultOf(installer({ from }))).toMatchObject({ directory: join(target(), "torch") });
      await expectWhole();
      rmSync(target(), { recursive: true });
    }
    expect(await resultOf(installer({ from }))).toMatchObject({ installed: true });
    await expectWhole();
    expect(readdirSync(runtimes())).toEqual(["torch-2.13.0-cpu"]);
  });

  it("killed while it replaces another leaves that one in place", async () => {
    const old = fakeWheel(folder(), { filling: "old" });
    await installer({ from: old }).ended;
    const second = installer({ force: true }, slowPip());
    await second.said('"done":50');
    second.child.kill("SIGKILL");
    await second.ended;
    expect(readFileSync(join(target(), "torch/lib/libtorch.so"), "utf8")).toContain("old");
    expect(await resultOf(installer({}))).toMatchObject({ installed: false, source: "runtime" });
  });

  it("that is asked to stop while it downloads leaves nothing", async () => {
    const code = `
      const { installRuntime } = require("./lib/runtime/install/install-runtime");
      const abort = new AbortController();
      process.on("SIGTERM", () => abort.abort());
      installRuntime({ signal: abort.signal, onProgress: ({ done }) => done && console.log("halfway") })
        .catch(({ code }) => console.log(code));`;
    const running = runScript(root, code, { env: { XDG_CACHE_HOME: cache, ...slowPip() } });
    await running.said("halfway");
    running.child.kill("SIGTERM");
    expect((await running.ended).stdout).toMatch(/ABORTED\n$/);
    expect(readdirSync(runtimes())).toEqual([]);
  });
});
