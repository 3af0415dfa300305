import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findAddonFiles } from "../../../lib/runtime/addon-files";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();

/** A package of empty files; `at` gives the second at which each was made, 1000 when it gives none. */
function packageWith(files: readonly string[], at: Readonly<Record<string, number>> = {}): string {
  const root = folder();
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), "");
    utimesSync(join(root, file), 0, at[file] ?? 1000);
  }
  return root;
}

const LOCAL = ["build/Release/kpop_loader.node", "build/Release/kpop_native.node"] as const;
const PREBUILT = [
  "prebuilds/linux-x64/kpop_loader.napi.glibc.node",
  "prebuilds/linux-x64/kpop_native.napi.glibc.node",
] as const;

const local = (root: string) => ({
  kind: "local",
  loader: join(root, LOCAL[0]),
  addon: join(root, LOCAL[1]),
});
const prebuilt = (root: string) => ({
  kind: "prebuild",
  loader: join(root, PREBUILT[0]),
  addon: join(root, PREBUILT[1]),
});

describe("findAddonFiles", () => {
  it("takes the prebuilds of an installed package", () => {
    const root = packageWith(PREBUILT);
    expect(findAddonFiles(root, {})).toEqual(prebuilt(root));
  });

  it("takes a build that was made after the prebuilds, or that they were made from", () => {
    const newer = packageWith([...LOCAL, ...PREBUILT], { [LOCAL[0]]: 1001, [LOCAL[1]]: 1001 });
    expect(findAddonFiles(newer, {})).toEqual(local(newer));
    const same = packageWith([...LOCAL, ...PREBUILT]);
    expect(findAddonFiles(same, {})).toEqual(local(same));
  });

  it("takes the prebuilds over a build of which either file is older", () => {
    const root = packageWith([...LOCAL, ...PREBUILT], { [LOCAL[0]]: 999 });
    expect(findAddonFiles(root, {})).toEqual(prebuilt(root));
  });

  it("takes the prebuilds when there is only half of a build", () => {
    const root = packageWith([LOCAL[1], ...PREBUILT]);
    expect(findAddonFiles(root, {})).toEqual(prebuilt(root));
  });

  it("never takes half of the prebuilds", () => {
    const root = packageWith([...LOCAL, PREBUILT[0]], { [PREBUILT[0]]: 2000 });
    expect(findAddonFiles(root, {})).toEqual(local(root));
  });

  it("obeys PREBUILDS_ONLY", () => {
    const root = packageWith([...LOCAL, ...PREBUILT]);
    expect(findAddonFiles(root, { PREBUILDS_ONLY: "1" })).toEqual(prebuilt(root));
    const without = packageWith(LOCAL);
    expect(() => findAddonFiles(without, { PREBUILDS_ONLY: "1" })).toThrow(
      expect.objectContaining({
        code: "ADDON_MISSING",
        message: expect.stringMatching(/not in .*, and PREBUILDS_ONLY forbids/),
      }),
    );
  });

  it("looks below KPOP_NATIVE_PREBUILD alone when that is set", () => {
    const elsewhere = packageWith(PREBUILT);
    const root = packageWith(LOCAL);
    expect(findAddonFiles(root, { KPOP_NATIVE_PREBUILD: elsewhere })).toEqual(prebuilt(elsewhere));
    expect(() => findAddonFiles(root, { KPOP_NATIVE_PREBUILD: "/nowhere" })).toThrow(
      expect.objectContaining({
        code: "ADDON_MISSING",
        message: expect.stringContaining("/nowhere/prebuilds"),
      }),
    );
  });

  it("does not take musl's files on glibc", () => {
    const root = packageWith(PREBUILT.map((file) => file.replace("glibc", "musl")));
    expect(() => findAddonFiles(root, {})).toThrow(expect.objectContaining({ code: "ADDON_MISSING" }));
  });

  it("says where it looked and what to do when there is nothing", () => {
    const root = packageWith(["package.json"]);
    expect(() => findAddonFiles(root, {})).toThrow(
      expect.objectContaining({
        code: "ADDON_MISSING",
        message: expect.stringMatching(/prebuilds\/linux-x64.*build\/Release; reinstall.*npm run build/),
      }),
    );
  });
});
