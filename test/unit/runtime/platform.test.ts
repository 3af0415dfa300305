import { checkPlatform, glibcVersion } from "../../../lib/runtime/platform";

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
