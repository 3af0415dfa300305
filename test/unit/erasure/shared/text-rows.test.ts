import type { Condition } from "../../../../lib/diffusion/condition";
import { encodeRows, type TextRows } from "../../../../lib/erasure/shared/text-rows";
import { Tensor } from "../../../../lib/runtime/tensor";

const L = 4;
/** Row r of text "t" is (t, r); counts what it is asked for. */
function encoder() {
  const calls: string[][] = [];
  const encode = async (prompts: readonly string[]): Promise<Condition> => {
    calls.push([...prompts]);
    const rows = prompts.flatMap((text) => Array.from({ length: L }, (_, row) => [Number(text), row]).flat());
    return { context: Tensor.from(rows, [prompts.length, L, 2]) };
  };
  return { calls, context: { encode, signal: undefined } };
}
const rowsOf = async (tensor: Tensor): Promise<string> => Array.from(await tensor.data(), Number).join(" ");

describe("encodeRows", () => {
  it("stacks the wanted rows in the order asked for, in float64, and encodes each text once", async () => {
    const { calls, context } = encoder();
    const rows = await encodeRows(context, [
      { text: "7", from: 2, count: 2 },
      { text: "5", from: 0, count: 1 },
      { text: "7", from: 1, count: 1 },
    ]);
    expect(rows.shape).toEqual([4, 2]);
    expect(rows.dtype).toBe("float64");
    expect(await rowsOf(rows)).toBe("7 2 7 3 5 0 7 1");
    expect(calls).toEqual([["7", "5"]]);
  });

  it("encodes many texts in batches of a bounded size", async () => {
    const { calls, context } = encoder();
    const wanted = Array.from({ length: 40 }, (_, i): TextRows => ({
      text: String(i),
      from: i % L,
      count: 1,
    }));
    const rows = await encodeRows(context, wanted);
    expect(await rowsOf(rows)).toBe(wanted.map(({ text, from }) => `${text} ${from}`).join(" "));
    expect(calls.length).toBeGreaterThan(1);
    expect(Math.max(...calls.map((batch) => batch.length))).toBeLessThanOrEqual(16);
  });

  it("stops between batches on abort", async () => {
    const { calls, context } = encoder();
    const controller = new AbortController();
    const encode = async (prompts: readonly string[]): Promise<Condition> => {
      controller.abort();
      return context.encode(prompts);
    };
    const wanted = Array.from({ length: 40 }, (_, i): TextRows => ({ text: String(i), from: 0, count: 1 }));
    await expect(encodeRows({ encode, signal: controller.signal }, wanted)).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(calls).toHaveLength(1);
  });
});
