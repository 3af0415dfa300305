import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findAddonFiles } from "../../../lib/runtime/addon-files";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();

function packageWith(...files: string[]): string {
  const root = folder();
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), "");
  }
  return root;
}

const LOCAL = ["build/Release/kpop_loader.node", "build/Release/kpop_native.node"];
const PREBUILT = ["prebuilds/linux-x64/kpop_loader.glibc.node", "prebuilds/linux-x64/kpop_native.glibc.node"];

describe("findAddonFiles", () => {
  it("prefers the build of a checkout", () => {
    const root = packageWith(...LOCAL, ...PREBUILT);
    expect(findAddonFiles(root, {})).toEqual({
      kind: "local",
      loader: join(root, LOCAL[0]!),
      addon: join(root, LOCAL[1]!),
    });
  });

  it("takes the prebuilds when there is no build, or only half of one", () => {
    const root = packageWith(LOCAL[1]!, ...PREBUILT);
    expect(findAddonFiles(root, {})).toEqual({
      kind: "prebuild",
      loader: join(root, PREBUILT[0]!),
      addon: join(root, PREBUILT[1]!),
    });
  });

  it("obeys PREBUILDS_ONLY and KPOP_NATIVE_PREBUILD", () => {
    const elsewhere = packageWith(...PREBUILT);
    const root = packageWith(...LOCAL);
    const env = { PREBUILDS_ONLY: "1", KPOP_NATIVE_PREBUILD: elsewhere };
    expect(findAddonFiles(root, env).addon).toBe(join(elsewhere, PREBUILT[1]!));
  });

  it("does not take musl's files on glibc", () => {
    const root = packageWith(...PREBUILT.map((file) => file.replace("glibc", "musl")));
    expect(() => findAddonFiles(root, {})).toThrow(expect.objectContaining({ code: "ADDON_MISSING" }));
  });

  it("says where it looked and what to do when there is nothing", () => {
    const root = packageWith("package.json");
    expect(() => findAddonFiles(root, {})).toThrow(
      expect.objectContaining({
        code: "ADDON_MISSING",
        message: expect.stringMatching(/prebuilds\/linux-x64.*build\/Release; reinstall.*npm run build/),
      }),
    );
  });
});
