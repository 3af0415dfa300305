import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256File } from "../../../lib/files/sha256-file";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("sha256File", () => {
  it("hashes files of any length", async () => {
    const path = join(temporaryDirectory(), "a");
    writeFileSync(path, "");
    expect(await sha256File(path)).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    // FIPS 180-4's long example: a million letters a; repeated, it passes the length of a chunk.
    writeFileSync(path, "a".repeat(1_000_000));
    expect(await sha256File(path)).toBe("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    writeFileSync(path, Buffer.alloc(10_000_000, 1));
    expect(await sha256File(path)).toBe("4b8ebcd9ac749e47320e331885fddccdf1e8a50906341e0eb9f21fd247502cee");
  });

  it("says what is missing, and stops when aborted", async () => {
    const folder = temporaryDirectory();
    await expect(sha256File(join(folder, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    writeFileSync(join(folder, "a"), "x");
    const aborted = sha256File(join(folder, "a"), { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });
});
