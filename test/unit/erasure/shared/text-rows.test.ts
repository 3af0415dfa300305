import type { Condition } from "../../../../lib/diffusion/condition";
import { encodeRowLists, encodeRows, type TextRows } from "../../../../lib/erasure/shared/text-rows";
import { Tensor } from "../../../../lib/runtime/tensor";

const L = 4;
/** Row r of text "t" is (t, r), of as many rows as are asked for; counts what it is asked for. */
function encoder() {
  const calls: string[][] = [];
  const lengths: number[] = [];
  const encode = async (prompts: readonly string[], { length = L } = {}): Promise<Condition> => {
    calls.push([...prompts]);
    lengths.push(length);
    const rows = prompts.flatMap((text) => Array.from({ length }, (_, row) => [Number(text), row]).flat());
    return { context: Tensor.from(rows, [prompts.length, length, 2]) };
  };
  return { calls, lengths, context: { encode, signal: undefined } };
}
const rowsOf = async (tensor: Tensor): Promise<string> => Array.from(await tensor.data(), Number).join(" ");

describe("encodeRows", () => {
  it("stacks the wanted rows in the order asked for, in float64, and encodes each text once", async () => {
    const { calls, context } = encoder();
    const rows = await encodeRows(context, [
      { text: "7", from: 2, count: 2 },
      { text: "5", from: 1, count: 1 },
      { text: "7", from: 1, count: 1 },
    ]);
    expect(rows.shape).toEqual([4, 2]);
    expect(rows.dtype).toBe("float64");
    expect(await rowsOf(rows)).toBe("7 2 7 3 5 1 7 1");
    expect(calls).toEqual([["7", "5"]]);
  });

  it("encodes a text once for several lists, of which one may be empty", async () => {
    const { calls, context } = encoder();
    const [sources, guides, none] = await encodeRowLists(context, [
      [{ text: "7", from: 2, count: 2 }],
      [
        { text: "5", from: 1, count: 1 },
        { text: "7", from: 1, count: 1 },
      ],
      [],
    ]);
    expect([await rowsOf(sources), await rowsOf(guides)]).toEqual(["7 2 7 3", "5 1 7 1"]);
    expect(none.shape).toEqual([0, 2]);
    expect(calls).toEqual([["7", "5"]]);
  });

  it("encodes no text further than to its last row", async () => {
    const { calls, lengths, context } = encoder();
    const rows = await encodeRows(context, [
      { text: "1", from: 1, count: 1 },
      { text: "2", from: 6, count: 3 },
      { text: "3", from: 2, count: 1 },
    ]);
    expect(await rowsOf(rows)).toBe("1 1 2 6 2 7 2 8 3 2");
    expect(calls).toEqual([["2"], ["3", "1"]]);
    expect(lengths).toEqual([9, 3]);
  });

  it("encodes many texts in batches of a bounded size", async () => {
    const { calls, lengths, context } = encoder();
    const wanted = Array.from({ length: 40 }, (_, i): TextRows => ({
      text: String(i),
      from: 99 + i,
      count: 1,
    }));
    const rows = await encodeRows(context, wanted);
    expect(await rowsOf(rows)).toBe(wanted.map(({ text, from }) => `${text} ${from}`).join(" "));
    expect(calls.length).toBeGreaterThan(1);
    expect(Math.max(...calls.map((batch, i) => batch.length * lengths[i]!))).toBeLessThanOrEqual(2048);
  });

  it("stops between batches on abort", async () => {
    const { calls, context } = encoder();
    const controller = new AbortController();
    const encode = async (prompts: readonly string[]): Promise<Condition> => {
      controller.abort();
      return context.encode(prompts);
    };
    const wanted = Array.from({ length: 40 }, (_, i): TextRows => ({ text: String(i), from: 76, count: 1 }));
    await expect(encodeRows({ encode, signal: controller.signal }, wanted)).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(calls).toHaveLength(1);
  });
});
