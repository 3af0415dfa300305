import { cacheFolder, runtimeCache, runtimeDirectory } from "../../../lib/runtime/cache-directory";

describe("the cache directory", () => {
  it("is the library's own in XDG_CACHE_HOME, with libtorch in it", () => {
    const env = { XDG_CACHE_HOME: "/cache", HOME: "/home/me" };
    expect(cacheFolder(env)).toBe("/cache/kpop-native");
    expect(runtimeCache(env)).toBe("/cache/kpop-native/runtime");
    expect(runtimeDirectory("2.13.0", "cpu", env)).toBe("/cache/kpop-native/runtime/torch-2.13.0-cpu");
  });

  it.each([undefined, "relative"])("lies in ~/.cache where XDG_CACHE_HOME is %s", (base) => {
    const env = { HOME: "/home/me", ...(base === undefined ? {} : { XDG_CACHE_HOME: base }) };
    expect(cacheFolder(env)).toBe("/home/me/.cache/kpop-native");
  });
});
