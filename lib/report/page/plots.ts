import type { CustomSeriesOption, EChartsOption, SeriesOption } from "echarts";
import { colourOf, symbolOf, type Look } from "./palette";

/** Charts as SVG, drawn without a browser. Colours are the page's variables, so that they follow light and dark. */

export interface Point {
  x: number;
  y: number;
  /** Ends of the 95 % intervals. */
  xRange?: readonly [number, number];
  yRange?: readonly [number, number];
  label?: string;
  /** Default "right". */
  labelSide?: "left" | "right";
  hollow?: boolean;
}

export interface Curve {
  name: string;
  look: Look;
  points: readonly Point[];
  /** Others' figures: hollow and dashed. */
  published?: boolean;
  /** Points alone, without a line. */
  loose?: boolean;
}

export interface Axis {
  name: string;
  scale?: "linear" | "log";
  /** Percent axes end at 0 and 100 at most. */
  percent?: boolean;
  /** How its values are written. Default: as the library does. */
  write?: (value: number) => string;
  /** Values that have to find room too, so that plots beside each other have the same ends. */
  within?: readonly number[];
}

/** Small, so that on a phone the words stay readable. */
const WIDTH = 440;
const HEIGHT = 330;
const INK = "var(--ink)";
const MUTED = "var(--muted)";
const LINE = "var(--line)";

/** The charts' library, a megabyte that only pages with charts load. */
function charts(): typeof import("./charts") {
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- an import would load it with everything else
  return require("./charts") as typeof import("./charts");
}

/** @returns an <svg> element */
export function plot(curves: readonly Curve[], x: Axis, y: Axis): string {
  const all = curves.flatMap(({ points }) => points);
  const option: EChartsOption = {
    animation: false,
    textStyle: { fontFamily: "inherit", fontSize: 12, color: INK },
    legend: {
      data: curves.map(({ name }) => name),
      selectedMode: false,
      top: 0,
      left: 0,
      itemGap: 18,
      itemWidth: 18,
      itemHeight: 10,
      textStyle: { color: INK, fontSize: 12 },
    },
    grid: { left: 42, right: 28, top: 14 + 24 * legendLines(curves), bottom: 34, containLabel: true },
    xAxis: axis(x, all.flatMap((point) => [point.x, ...(point.xRange ?? [])]), 30),
    yAxis: axis(y, all.flatMap((point) => [point.y, ...(point.yRange ?? [])]), 46),
    series: curves.flatMap((curve) => [series(curve), intervals(curve)]),
  }; // prettier-ignore
  const chart = charts().init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height: HEIGHT });
  try {
    chart.setOption(option);
    // The library fills hollow symbols white.
    return chart.renderToSVGString().replaceAll('fill="#fff"', 'fill="var(--paper)"');
  } finally {
    chart.dispose();
  }
}

/** Erasing over preserving: up and to the right is better. */
export function tradeOff(curves: readonly Curve[]): string {
  return overPreserving(curves, "erased, ESR-1 %");
}

/** Something over preserving, of which more is better in both. @param beside curves of plots that have the same ends */
export function overPreserving(curves: readonly Curve[], y: string, beside: readonly Curve[] = []): string {
  const points = beside.flatMap(({ points: all }) => all);
  return plot(
    curves,
    {
      name: "preserved, PSR-1 %",
      percent: true,
      within: points.flatMap((of) => [of.x, ...(of.xRange ?? [])]),
    },
    { name: y, percent: true, within: points.flatMap((of) => [of.y, ...(of.yRange ?? [])]) },
  );
}

/** About how many lines the names take, at 6.6 units a letter. */
function legendLines(curves: readonly Curve[]): number {
  let [lines, used] = [1, 0];
  for (const { name } of curves) {
    const width = 42 + 6.6 * name.length;
    if (used + width > WIDTH) [lines, used] = [lines + 1, 0];
    used += width;
  }
  return lines;
}

function axis(
  { name, scale = "linear", percent = false, within = [], write }: Axis,
  values: readonly number[],
  gap: number,
) {
  return {
    type: scale === "log" ? ("log" as const) : ("value" as const),
    name,
    nameLocation: "middle" as const,
    nameGap: gap,
    nameTextStyle: { color: MUTED, fontSize: 12 },
    ...(scale === "log" ? {} : range([...values, ...within], percent)),
    axisLine: { show: true, lineStyle: { color: LINE } },
    axisTick: { show: false },
    axisLabel: { color: MUTED, fontSize: 11, ...(write === undefined ? {} : { formatter: write }) },
    splitLine: { lineStyle: { color: LINE, opacity: 0.6 } },
  };
}

/** Ends of an axis: whole tens of percent around the values, or what the library chooses. */
function range(values: readonly number[], percent: boolean): { min?: number; max?: number; scale?: true } {
  if (!percent || values.length === 0) return { scale: true };
  const min = Math.max(0, Math.floor((Math.min(...values) - 1) / 10) * 10);
  const max = Math.min(100, Math.ceil((Math.max(...values) + 1) / 10) * 10);
  return { min, max };
}

function series({ name, points, look, published = false, loose = false }: Curve): SeriesOption {
  const [symbol, colour] = [symbolOf(look), colourOf(look)];
  const hollow = `empty${symbol[0]!.toUpperCase()}${symbol.slice(1)}`;
  const data = points.map(({ x, y, label, labelSide = "right", hollow: open = false }) => ({
    value: [x, y],
    ...(open ? { symbol: hollow } : {}),
    label: { show: label !== undefined, formatter: label ?? "", position: labelSide },
  }));
  const common = {
    name,
    data,
    symbol: published ? hollow : symbol,
    symbolSize: 9,
    silent: true,
    color: colour,
    itemStyle: { color: colour, opacity: 1 },
    label: { color: INK, fontSize: 11, distance: 6 },
    labelLayout: { dy: -9, moveOverlap: "shiftY" as const },
  };
  if (loose) return { ...common, type: "scatter" };
  return {
    ...common,
    type: "line",
    showSymbol: points.length <= 16,
    lineStyle: { color: colour, width: 2, type: published ? "dashed" : "solid" },
  };
}

/** Crosses over the points, as long as their intervals. */
function intervals({ points, look }: Curve): CustomSeriesOption {
  const lines = points.flatMap(({ x, y, xRange, yRange }) => [
    ...(xRange === undefined ? [] : [[xRange[0], y, xRange[1], y]]),
    ...(yRange === undefined ? [] : [[x, yRange[0], x, yRange[1]]]),
  ]);
  return {
    type: "custom",
    silent: true,
    data: lines,
    renderItem: (_params, api) => {
      const [x1, y1] = api.coord([api.value(0), api.value(1)]);
      const [x2, y2] = api.coord([api.value(2), api.value(3)]);
      return {
        type: "line",
        shape: { x1: x1!, y1: y1!, x2: x2!, y2: y2! },
        style: { stroke: colourOf(look), lineWidth: 1.5, opacity: 0.55 },
      };
    },
  };
}
