import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { installRuntime } from "../../../../lib/runtime/install/install-runtime";
import { hashFile } from "../../../../lib/runtime/install/record";
import { fakeWheel } from "../../../support/fake-wheel";
import { packageIndex } from "../../../support/package-index";
import type { PackageIndex } from "../../../support/package-index";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();
const environment = { ...process.env };
const hasPip = spawnSync("python3", ["-m", "pip", "--version"]).status === 0;
let index: PackageIndex | undefined;
let cache: string;

beforeEach(() => {
  cache = folder();
  const own = Object.fromEntries(
    Object.entries(environment).filter(([name]) => !/^PIP_|_proxy$/i.test(name)),
  );
  // No configuration of the machine's, and no cache: an earlier test's wheel has the same name.
  process.env = {
    ...own,
    XDG_CACHE_HOME: cache,
    PIP_CONFIG_FILE: "/dev/null",
    PIP_NO_CACHE_DIR: "1",
    KPOP_TORCH_INDEX_URL: "",
  };
});
afterEach(async () => {
  process.env = { ...environment };
  await index?.close();
});

const runtimes = () => join(cache, "kpop-native/runtime");

// Skipped where Python has no pip, which installing from an index needs.
(hasPip ? describe : describe.skip)("installing from a package index, by the pip of this machine", () => {
  it("takes the wheel of the index that is named", async () => {
    const wheel = fakeWheel(folder(), { filling: Buffer.alloc(300_000, 1) });
    index = await packageIndex(wheel);
    const installed = await installRuntime({ indexUrl: index.url, sha256: await hashFile(wheel) });
    expect(installed).toMatchObject({ installed: true, archives: [{ sha256: await hashFile(wheel) }] });
    expect(index.requests.filter((path) => !path.includes("torch"))).toEqual([]);
    expect(readdirSync(runtimes())).toEqual(["torch-2.13.0-cpu"]);
  });

  it("refuses a wheel that was damaged on the way, by the index's SHA-256, and leaves nothing", async () => {
    const damage = (bytes: Buffer): Buffer => Buffer.from(bytes).fill(9, 2000, 2001);
    index = await packageIndex(fakeWheel(folder(), { filling: Buffer.alloc(300_000, 1) }), damage);
    await expect(installRuntime({ indexUrl: index.url })).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/SHA-256 is not the one that the package index gives.*try again/),
    });
    expect(readdirSync(runtimes())).toEqual([]);
  });
});
