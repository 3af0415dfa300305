import { Metrics } from "../../../lib/evaluation/measure";
import { defineMetric, metricGroup, type MetricBatch } from "../../../lib/evaluation/metric";
import { Image } from "../../../lib/io/image";
import { number } from "../../../lib/options/kinds";
import { complete } from "../../../lib/options/option";

/** Mean byte of pictures, times a factor; of a second model also the difference from the first. */
function brightness(log: string[] = []) {
  return defineMetric({
    name: "brightness",
    title: "Brightness",
    reference: "none",
    short: "mean byte",
    options: { factor: number(1, "what to multiply by", { above: 0 }) },
    check({ factor }) {
      if (factor > 100) throw new Error("too bright");
    },
    async open({ factor }, { device, models }) {
      log.push(`open for ${models} on ${device}`);
      return {
        origin: "brightness",
        hash: async () => "ab",
        measure(first: { result(): unknown } | null) {
          const seen: number[] = [];
          return {
            async add({ images }: MetricBatch) {
              const means = images.map(
                ({ data }) => factor * (data.reduce((a, b) => a + b, 0) / data.length),
              );
              seen.push(...means);
              return means;
            },
            result() {
              const mean = seen.reduce((a, b) => a + b, 0) / seen.length;
              return first === null ? { mean } : { mean, minus: (first.result() as { mean: number }).mean };
            },
            dispose: () => void log.push("measurement freed"),
          };
        },
        dispose: () => void log.push("freed"),
      };
    },
    figures: ({ mean }) => [{ name: "brightness", value: mean }],
  });
}

const plain = (value: number) => new Image(1, 1, Uint8Array.of(value, value, value));
const batch = (...values: number[]): MetricBatch => ({
  images: values.map(plain),
  prompts: values.map(() => ""),
  groups: values.map(() => null),
  firsts: null,
});
const job = { device: "cpu", models: 2, signal: undefined };

describe("a metric", () => {
  it("is measured where its options are given, and says what judged", async () => {
    const log: string[] = [];
    const none = await Metrics.open([brightness(log)] as never, {}, job);
    expect([...none.begin()]).toEqual([]);
    expect(await none.results()).toBeNull();
    expect(log).toEqual([]);

    const metrics = await Metrics.open([brightness(log)] as never, { brightness: { factor: 2 } }, job);
    const own = metrics.begin().get("brightness")!;
    expect(await own.add(batch(10, 20), undefined)).toEqual([20, 40]);
    expect(await own.add(batch(30), undefined)).toEqual([60]);
    const judge = { origin: "brightness", sha256: "ab" };
    expect(await metrics.results()).toEqual({ brightness: { mean: 40, judge } });
    metrics.dispose();
    expect(log).toEqual(["open for 2 on cpu", "measurement freed", "freed"]);
  });

  it("sees a second model's pictures beside what was measured of the first's", async () => {
    const metrics = await Metrics.open([brightness()] as never, { brightness: { factor: 1 } }, job);
    await metrics.begin().get("brightness")!.add(batch(10), undefined);
    await metrics.begin().get("brightness")!.add(batch(50), undefined);
    expect(await metrics.results()).toMatchObject({ brightness: { mean: 50, minus: 10 } });
  });

  it("frees those that are open when one of the next cannot be opened", async () => {
    const log: string[] = [];
    const broken = { ...brightness(), name: "broken", open: () => Promise.reject(new Error("no such file")) };
    const opening = Metrics.open(
      [brightness(log), broken] as never,
      { brightness: { factor: 1 }, broken: {} },
      job,
    );
    await expect(opening).rejects.toThrow("no such file");
    expect(log.at(-1)).toBe("freed");
  });

  it("has its options as a group, checked with their names, and together", () => {
    const options = { brightness: metricGroup(brightness()) };
    const read = (given: object) => complete(options, { ...given }, { concepts: [] });
    expect(read({})).toEqual({ brightness: undefined });
    expect(read({ brightness: {} })).toEqual({ brightness: { factor: 1 } });
    expect(() => read({ brightness: { factor: 0 } })).toThrow(/brightness\.factor to be a number > 0/);
    expect(() => read({ brightness: { faktor: 2 } })).toThrow(/"faktor" in brightness/);
    expect(() => read({ brightness: { factor: 200 } })).toThrow("too bright");
  });

  it("cannot be defined without a field that it needs", () => {
    expect(() => defineMetric({ ...brightness(), open: undefined as never })).toThrow(
      /definition of the metric "brightness" to have open/,
    );
  });
});
