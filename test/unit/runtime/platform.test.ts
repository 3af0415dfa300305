import { OLDEST_GLIBC, checkPlatform, glibcVersion } from "../../../lib/runtime/platform";

describe("checkPlatform", () => {
  it("accepts this machine, whose glibc it knows", () => {
    expect(glibcVersion()).toMatch(/^2\.\d+$/);
    expect(() => checkPlatform()).not.toThrow();
  });

  it("knows musl by a report without a version of glibc", () => {
    const report = jest.spyOn(process.report, "getReport").mockReturnValue({ header: {} });
    try {
      expect(glibcVersion()).toBeNull();
      expect(() => checkPlatform("linux", "x64")).toThrow(/this Node runs on musl/);
    } finally {
      report.mockRestore();
    }
  });

  it("refuses musl with the way out", () => {
    expect(() => checkPlatform("linux", "x64", () => null)).toThrow(
      expect.objectContaining({
        code: "ADDON_MISSING",
        message: expect.stringMatching(/musl.*use a glibc image/),
      }),
    );
  });

  it.each(["2.17", "2.27", "1.99"])("refuses glibc %s with the way out", (version) => {
    expect(() => checkPlatform("linux", "x64", () => version)).toThrow(
      expect.objectContaining({
        code: "ADDON_MISSING",
        message: `kpop-native needs glibc ${OLDEST_GLIBC} or newer but this system has ${version}; use a newer Linux distribution or container image`,
      }),
    );
  });

  it.each([OLDEST_GLIBC, "2.100", "3.0"])("accepts glibc %s", (version) => {
    expect(() => checkPlatform("linux", "x64", () => version)).not.toThrow();
  });

  it.each([
    ["darwin", "arm64"],
    ["linux", "arm64"],
    ["win32", "x64"],
  ])("refuses %s %s", (platform, arch) => {
    expect(() => checkPlatform(platform, arch)).toThrow(
      expect.objectContaining({
        code: "ADDON_MISSING",
        message: expect.stringContaining(`${platform} ${arch}`),
      }),
    );
  });
});
