import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readPassphrase } from "../../../lib/cli/passphrase";
import { temporaryDirectory } from "../../support/temporary-directory";

afterEach(() => delete process.env.KPOP_PASSPHRASE);

function file(text: string): string {
  const path = join(temporaryDirectory(), "passphrase");
  writeFileSync(path, text);
  return path;
}

describe("the passphrase", () => {
  it("is the file's text without its line end, before the variable's", async () => {
    process.env.KPOP_PASSPHRASE = "from the environment";
    await expect(readPassphrase(undefined)).resolves.toBe("from the environment");
    await expect(readPassphrase(file(" two words \n"))).resolves.toBe(" two words ");
  });

  it("is none where neither is given", async () => {
    await expect(readPassphrase(undefined)).resolves.toBeUndefined();
  });

  it("is never an empty one", async () => {
    process.env.KPOP_PASSPHRASE = "";
    await expect(readPassphrase(undefined)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(readPassphrase(file("\n"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("comes from a file that exists", async () => {
    await expect(readPassphrase("/nowhere/passphrase")).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("/nowhere/passphrase"),
    });
  });
});
