import { KpopError } from "../../../lib/errors";
import { systemError } from "../../../lib/files/system-error";

const failed = (code: string) => Object.assign(new Error(`${code}: text`), { code, syscall: "write" });

describe("systemError", () => {
  it.each([
    ["ENOENT", "NOT_FOUND", "Cannot write /a: it does not exist"],
    ["ENOSPC", "NO_SPACE", "Cannot write /a: the disk is full; free some space or choose another place"],
    [
      "EDQUOT",
      "NO_SPACE",
      "Cannot write /a: the disk quota is used up; free some space or choose another place",
    ],
    ["ENOTEMPTY", "OUTPUT_NOT_EMPTY", "Cannot write /a: the folder is not empty"],
    ["EACCES", "IO_ERROR", "Cannot write /a: permission denied"],
    ["EIO", "IO_ERROR", "Cannot write /a: EIO: text"],
  ])("turns %s into %s", (code, expected, message) => {
    const cause = failed(code);
    const error = systemError(cause, "write", "/a") as KpopError;
    expect(error).toBeInstanceOf(KpopError);
    expect(error).toMatchObject({ code: expected, message, cause });
  });

  it("leaves other errors as they are", () => {
    for (const error of [new KpopError("ABORTED", "x"), new TypeError("x"), "x", undefined]) {
      expect(systemError(error, "write", "/a")).toBe(error);
    }
  });
});
