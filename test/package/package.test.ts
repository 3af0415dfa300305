import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import type { DoctorReport } from "../../lib/runtime/doctor";
import { version } from "../../package.json";
import { InstalledPackage, pack } from "../support/installed-package";
import type { Tarball } from "../support/installed-package";
import { temporaryFolders } from "../support/temporary";
import { describeExamples } from "./examples";
import { describeHttpService } from "./http-service";
import { describeOpenTelemetry } from "./opentelemetry";
import { describeQueueService } from "./queue-service";

// It waits for a registry and for programs that share the processors with other tests.
jest.setTimeout(180_000);

const folder = temporaryFolders();
const TYPESCRIPT = resolve(__dirname, "../../node_modules/typescript/bin/tsc");
const NODE_TYPES = resolve(__dirname, "../../node_modules/@types");

let tarball: Tarball;
let user: InstalledPackage;

beforeAll(async () => {
  tarball = pack(folder());
  user = new InstalledPackage(folder());
  await user.install(tarball.path);
}, 300_000);

describe("the tarball", () => {
  it("is without fault: contents, publint, the resolution of types", () => {
    expect(tarball.faults).toEqual([]);
    expect(tarball.bytes).toBeLessThan(60e6);
  });

  it("holds the two native files as node-gyp-build tags them, and no library of libtorch", () => {
    expect(tarball.prebuilds.map(({ path }) => path)).toEqual([
      "prebuilds/linux-x64/kpop_loader.napi.glibc.node",
      "prebuilds/linux-x64/kpop_native.napi.glibc.node",
    ]);
    expect(tarball.files.filter((path) => /\.so(?:\.|$)/.test(path))).toEqual([]);
  });
});

describe("the package in an empty project, without compiler, CMake and Python", () => {
  it("builds nothing at installation", () => {
    const installed = join(user.project, "node_modules", "kpop-native");
    expect(existsSync(join(installed, "build"))).toBe(false);
    expect(readdirSync(join(user.project, "node_modules"))).not.toContain("cmake-js");
  });

  it("is the same object by import and by require", async () => {
    user.write(
      "both.mjs",
      `import * as imported from "kpop-native";
       import { createRequire } from "node:module";
       const required = createRequire(import.meta.url)("kpop-native");
       const names = Object.keys(required).filter((name) => imported[name] !== required[name]);
       const internal = await import("kpop-native/internal").catch(({ code }) => code);
       console.log(JSON.stringify({ count: Object.keys(required).length, names, internal }));`,
    );
    const { count, names, internal } = JSON.parse(await user.run("node", "both.mjs")) as {
      count: number;
      names: string[];
      internal: unknown;
    };
    expect(count).toBeGreaterThan(20);
    expect(names).toEqual([]);
    expect(internal).toBe("ERR_PACKAGE_PATH_NOT_EXPORTED");
  });

  // The declarations themselves are checked once; what differs is how they are found.
  it.each([
    ["node16", "node16", false],
    ["bundler", "esnext", true],
  ])("has its types under moduleResolution %s", async (moduleResolution, module, skipLibCheck) => {
    const source = `import { erase, type Erasure } from "kpop-native";
      export const run = (): Promise<Erasure> => erase("pocket", { concepts: "church", iterations: 2 });
      // @ts-expect-error a number is no model
      export const wrong = () => erase(3, { concepts: "church" });\n`;
    const folderName = `types-${moduleResolution}`;
    for (const name of ["module.mts", "script.cts"]) user.write(`${folderName}/${name}`, source);
    const compilerOptions = {
      module,
      moduleResolution,
      target: "es2022",
      lib: ["es2023", "esnext.disposable"],
      strict: true,
      skipLibCheck,
      noEmit: true,
      typeRoots: [NODE_TYPES],
      types: ["node"],
    };
    user.write(`${folderName}/tsconfig.json`, JSON.stringify({ compilerOptions }));
    await user.run("node", TYPESCRIPT, "--project", folderName);
  });

  it("has a program that runs and that finds the prebuilds sound", async () => {
    const program = join("node_modules", ".bin", "kpop-native");
    expect((await user.run(program, "--version")).trim()).toBe(version);
    const report = JSON.parse(await user.run(program, "doctor", "--json")) as DoctorReport;
    expect(report).toMatchObject({
      ok: true,
      addon: { kind: "prebuild", path: expect.stringMatching(/kpop_native\.napi\.glibc\.node$/) },
      libtorch: { source: "KPOP_LIBTORCH" },
    });
  });

  it("erases a concept from the built-in model", async () => {
    user.write(
      "erase.mjs",
      `import { erase } from "kpop-native";
       const few = { iterations: 2, poolSize: 1, samplingSteps: 4 };
       const erasure = await erase("pocket", { concepts: "church", seed: 1, ...few });
       await erasure.save("without-church");
       console.log(JSON.stringify(erasure.history.map(({ losses }) => losses)));
       erasure.dispose();`,
    );
    const losses = JSON.parse(await user.run("node", "erase.mjs")) as Record<string, number>[];
    expect(losses).toHaveLength(2);
    for (const each of losses) {
      expect(Object.keys(each).sort()).toEqual(["erase", "preserve", "recover", "select", "transfer"]);
      expect(Object.values(each).every((loss) => Number.isFinite(loss) && loss >= 0)).toBe(true);
    }
    const weights = "unet/diffusion_pytorch_model.safetensors";
    const erased = readFileSync(join(user.project, "without-church", weights));
    const original = readFileSync(join(user.project, "node_modules/kpop-native/models/pocket", weights));
    expect(erased.equals(original)).toBe(false);
  });
});

// Here, and not in test files of their own, for the sake of one tarball and one installation.
describeExamples(() => user);
const given = () => ({ user, tarball: tarball.path });
describeHttpService(given);
describeOpenTelemetry(given);
describeQueueService(given);
