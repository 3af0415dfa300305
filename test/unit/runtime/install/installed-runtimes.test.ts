import { existsSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { installRuntime } from "../../../../lib/runtime/install/install-runtime";
import { listRuntimes, removeRuntimes } from "../../../../lib/runtime/install/installed-runtimes";
import { lockOf } from "../../../../lib/runtime/install/cache-access";
import { withLock } from "../../../../lib/files/lock";
import { writeRuntimeRecord } from "../../../../lib/runtime/install/record";
import { fakeLibtorch } from "../../../support/fake-libtorch";
import { fakeWheel } from "../../../support/fake-wheel";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();
const environment = { ...process.env };
let cache: string;

beforeEach(() => {
  cache = join(folder(), "kpop-native/runtime");
  process.env = { ...environment, XDG_CACHE_HOME: join(cache, "../..") };
});
afterEach(() => {
  process.env = { ...environment };
});

/** The current CPU and CUDA runtimes, and one of an earlier release. */
async function three(): Promise<void> {
  await installRuntime({ from: fakeWheel(folder(), { filling: "x".repeat(1000) }) });
  await installRuntime({ from: fakeWheel(folder(), { cuda: true }), flavour: "cuda" });
  const earlier = join(cache, "torch-2.9.1-cpu");
  fakeLibtorch(join(earlier, "torch"), { version: "2.9.1" });
  await writeRuntimeRecord(earlier, { version: "2.9.1", flavour: "cpu", archives: [] });
}

const names = async () => (await listRuntimes()).map(({ version, flavour }) => `${version} ${flavour}`);

describe("listRuntimes", () => {
  it("finds none where nothing was ever installed", async () => {
    expect(await listRuntimes()).toEqual([]);
  });

  it("tells what is there, of which version, how large", async () => {
    await three();
    const listed = await listRuntimes();
    expect(listed).toContainEqual({
      directory: join(cache, "torch-2.13.0-cpu"),
      version: "2.13.0",
      flavour: "cpu",
      bytes: expect.any(Number),
      fault: null,
      current: true,
    });
    expect(listed[0]!.bytes).toBeGreaterThan(3 * 1000);
    expect(listed.map(({ version, flavour, current }) => [version, flavour, current])).toEqual([
      ["2.13.0", "cpu", true],
      ["2.13.0", "cuda", true],
      ["2.9.1", "cpu", false],
    ]);
  });

  it("tells what is damaged, and leaves out what is no runtime", async () => {
    await three();
    truncateSync(join(cache, "torch-2.13.0-cpu/torch/lib/libc10.so"), 3);
    writeFileSync(join(cache, "torch-2.13.0-cuda/kpop-runtime.json"), "{");
    mkdirSync(join(cache, "torch-mine"));
    mkdirSync(join(cache, ".torch-2.12.0-cpu.work-12"));
    expect((await listRuntimes()).map(({ fault }) => fault)).toEqual([
      "missing or of another length: torch/lib/libc10.so",
      "its record is missing or damaged",
      null,
    ]);
  });
});

describe("removeRuntimes", () => {
  it("removes all of them, with what killed installations left, and nothing else", async () => {
    await three();
    mkdirSync(join(cache, ".torch-2.12.0-cpu.work-12/wheels"), { recursive: true });
    mkdirSync(join(cache, "torch-mine"));
    expect(await removeRuntimes()).toHaveLength(3);
    expect(readdirSync(cache)).toEqual(["torch-mine"]);
    expect(await removeRuntimes()).toEqual([]);
  });

  it("removes those of a version or flavour", async () => {
    await three();
    await removeRuntimes({ version: "2.9.1" });
    expect(await names()).toEqual(["2.13.0 cpu", "2.13.0 cuda"]);
    await removeRuntimes({ flavour: "cuda" });
    expect(await names()).toEqual(["2.13.0 cpu"]);
  });

  it("says what is there when nothing fits", async () => {
    await three();
    await expect(removeRuntimes({ version: "2.9.1", flavour: "cuda" })).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(/^No runtime 2\.9\.1 \(cuda\) .*there is 2\.13\.0 \(cpu\), /),
    });
    expect(await names()).toHaveLength(3);
  });

  it("waits for a process that installs the same one", async () => {
    await three();
    const target = join(cache, "torch-2.13.0-cpu");
    let removing: Promise<unknown> | undefined;
    const waited = await withLock(lockOf(target), async () => {
      const holder = await new Promise<string>((resolve) => {
        removing = removeRuntimes({ flavour: "cpu", onWait: resolve });
      });
      expect(existsSync(target)).toBe(true);
      return holder;
    });
    expect(waited).toContain(String(process.pid));
    await removing;
    expect(existsSync(target)).toBe(false);
  });

  it("can be installed again afterwards", async () => {
    await three();
    await removeRuntimes();
    expect(await installRuntime({ from: fakeWheel(folder()) })).toMatchObject({ installed: true });
  });

  it.each([{ versions: "2.9.1" }, { version: "" }, { flavour: "rocm" }])("takes no %j", async (options) => {
    await expect(removeRuntimes(options as object)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
