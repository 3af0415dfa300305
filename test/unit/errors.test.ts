import { KpopError, throwIfAborted } from "../../lib/errors";

describe("KpopError", () => {
  it("is an Error with a code, and with operation and cause where they were given", () => {
    const cause = new Error("disk");
    const error = new KpopError("IO_ERROR", "Cannot read", { cause, operation: "read" });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: "KpopError",
      code: "IO_ERROR",
      message: "Cannot read",
      operation: "read",
    });
    expect(error.cause).toBe(cause);
    expect(String(error)).toBe("KpopError: Cannot read");
  });

  it("has neither property where they were not given", () => {
    const error = new KpopError("ABORTED", "stopped");
    expect(Object.hasOwn(error, "cause")).toBe(false);
    expect(error.operation).toBeUndefined();
  });
});

describe("throwIfAborted", () => {
  it("does nothing without a signal, and with one that has not fired", () => {
    expect(() => throwIfAborted(undefined)).not.toThrow();
    expect(() => throwIfAborted(new AbortController().signal)).not.toThrow();
  });

  it("throws ABORTED with the signal's reason as cause", () => {
    const signal = AbortSignal.abort("enough");
    expect(() => throwIfAborted(signal)).toThrow(
      expect.objectContaining({ name: "KpopError", code: "ABORTED", cause: "enough" }),
    );
  });
});
