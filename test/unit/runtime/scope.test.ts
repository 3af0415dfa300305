import { keep, scope, unscoped } from "../../../lib/runtime/scope";
import { Tensor } from "../../../lib/runtime/tensor";

const made = (): Tensor => Tensor.from([1, 2], [2]);
const later = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

describe("scope", () => {
  it("frees what was made inside and not returned, across awaits", async () => {
    let inner: Tensor | undefined;
    const result = await scope(async () => {
      inner = made();
      await inner.data();
      await later(1);
      return { sum: inner.add(1), list: [inner.mul(5)] };
    });
    expect(inner!.disposed).toBe(true);
    expect(Array.from(await result.sum.data(), Number)).toEqual([2, 3]);
    expect(Array.from(await result.list[0]!.data(), Number)).toEqual([5, 10]);
  });

  it("finds what is returned in arrays, plain objects and Maps, however deep, and in a circle", () => {
    const result = scope(() => {
      const circle: { tensor: Tensor; self?: unknown } = { tensor: made() };
      circle.self = circle;
      return { circle, deep: [new Map([["a", { b: [made()] }]])], lone: made() };
    });
    const all = [result.circle.tensor, result.deep[0]!.get("a")!.b[0]!, result.lone];
    expect(all.map((tensor) => tensor.disposed)).toEqual([false, false, false]);
  });

  it("hands what an inner scope returns to the outer one", () => {
    let passed: Tensor | undefined;
    scope(() => {
      passed = scope(made);
      expect(passed.disposed).toBe(false);
    });
    expect(passed!.disposed).toBe(true);
  });

  it("frees everything when the function throws or rejects", async () => {
    const tensors: Tensor[] = [];
    expect(() =>
      scope(() => {
        tensors.push(made());
        throw new Error("no");
      }),
    ).toThrow("no");
    await expect(
      scope(async () => {
        tensors.push(made());
        await later(1);
        tensors.push(made());
        throw new Error("nor this");
      }),
    ).rejects.toThrow("nor this");
    expect(tensors.map((tensor) => tensor.disposed)).toEqual([true, true, true]);
  });

  it("keeps scopes that run at the same time apart", async () => {
    const [a, b] = [made(), made()];
    const tensors: Tensor[] = [];
    const first = scope(async () => {
      tensors[0] = a.add(1);
      await later(20);
      expect(tensors[0].disposed).toBe(false);
    });
    const second = scope(async () => {
      tensors[1] = b.add(1);
      await later(5);
    });
    await second;
    expect(tensors.map((tensor) => tensor.disposed)).toEqual([false, true]);
    await first;
    expect(tensors[0]!.disposed).toBe(true);
  });

  it("does not free twice, nor what was freed inside", () => {
    scope(() => {
      made().dispose();
      return null;
    });
    const outer = made();
    scope(() => outer.add(1));
    expect(outer.disposed).toBe(false);
  });
});

describe("keep", () => {
  it("takes out of every scope around", () => {
    let kept: { list: Tensor[] } | undefined;
    scope(() => {
      scope(() => {
        kept = keep({ list: [made()] });
      });
    });
    expect(kept!.list[0]!.disposed).toBe(false);
  });
});

describe("unscoped", () => {
  it("makes what lives until it is disposed, across awaits", async () => {
    let outside: Tensor[] = [];
    await scope(async () => {
      outside = await unscoped(async () => {
        const first = made();
        await later(1);
        return [first, made()];
      });
    });
    expect(outside.map((tensor) => tensor.disposed)).toEqual([false, false]);
  });

  it("goes on behind a scope within it", () => {
    const outside: Tensor[] = [];
    let inside: Tensor | undefined;
    scope(() =>
      unscoped(() => {
        outside.push(scope(made));
        scope(() => void (inside = made()));
        outside.push(scope(made), made());
      }),
    );
    expect(outside.map((tensor) => tensor.disposed)).toEqual([false, false, false]);
    expect(inside!.disposed).toBe(true);
  });
});
