import { evaluateScript } from "../../support/evaluate-script";

describe("changelogFaults", () => {
  const faultsOf = (changelog: string): unknown =>
    evaluateScript("release/readiness.mjs", `m.changelogFaults(${JSON.stringify(changelog)}, "1.2.0")`);
  const READY = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-01-31\n\n### Added\n\n- A thing.\n";

  it("accepts a dated section with something in it", () => {
    expect(faultsOf(READY)).toEqual([]);
    expect(faultsOf(READY.replace("## [Unreleased]\n\n", ""))).toEqual([]);
  });

  it.each([
    ["no section", READY.replace("1.2.0", "1.1.0"), /no section "## \[1\.2\.0\] - YYYY-MM-DD"/],
    ["no date", READY.replace(" - 2026-01-31", ""), /no section/],
    ["an empty section", READY.replace("- A thing.", ""), /no section/],
    ["unreleased changes", READY.replace("ed]\n", "ed]\n\n- Another thing.\n"), /under "Unreleased"/],
  ])("names %s", (_what, changelog, words) => {
    expect(faultsOf(changelog)).toEqual([expect.stringMatching(words)]);
  });
});

describe("contentFaults", () => {
  const faultsOf = (added: string[], bytes = 1): string[] =>
    evaluateScript(
      "release/content-faults.mjs",
      `m.contentFaults({ bytes: ${bytes}, files: [...m.NEEDED, ...${JSON.stringify(added)}] })`,
    ) as string[];

  it("accepts the sources, the model and the maps of what is shipped", () => {
    const files = [
      "native/nn/unet_blocks.h",
      "cmake/Libtorch.cmake",
      "models/pocket/unet/config.json",
      "dist/cli.js.map",
    ];
    expect(faultsOf(files)).toEqual([]);
  });

  it.each([
    "dist/bench.js",
    "dist/bench.js.map",
    "test/unit/check.test.ts",
    "prebuilds/linux-x64/libtorch.so",
    "models/pocket/unet/state.pt",
  ])("refuses %s", (path) => {
    expect(faultsOf([path])).toEqual([`it holds ${path}, which nobody needs`]);
  });

  it("refuses more than 60 MB", () => {
    expect(faultsOf([], 60e6)).toEqual([]);
    expect(faultsOf([], 61e6)).toEqual(["it has 61.0 MB, more than 60 MB"]);
  });

  it("names what is missing", () => {
    expect(
      evaluateScript("release/content-faults.mjs", "m.contentFaults({ bytes: 1, files: m.NEEDED.slice(1) })"),
    ).toEqual(["it lacks package.json"]);
  });
});
