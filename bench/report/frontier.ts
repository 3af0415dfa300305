import type { MethodKind } from "../../lib/index";
import type { Curve, Figure, Point } from "../../lib/internal";
import { overPreserving } from "../../lib/internal";
import { keepsNeighbours, kindOf, methodOf, titleOf } from "../entrants";
import type { Rate } from "../statistics";
import { KIND_TITLES } from "./format";
import { lookOf } from "./looks";

/** A row's place between two aims. */
export interface Place {
  method: string;
  /** What it preserves, PSR-1. */
  preserved: Rate;
  /** The other aim: more is better. */
  rate: Rate;
}

/** More methods than this have a plot for each kind. */
const TOGETHER = 8;
/** Percent within which one point's name would cover another point. */
const NEAR = 5;

const HOW =
  "up and to the right is better. Crosses are 95 % intervals; of a method with two rows the hollow point is the one as " +
  "published, and a line leads to the one with neighbours.";

/**
 * Some aim over preserving, a line for each method from its row as published to the one with neighbours: one plot, or where
 * methods are many one for each kind, all with the same ends.
 * @param y what the axis is called
 */
export function frontier(places: readonly Place[], y: string, caption: string): Figure[] {
  const methods = [...new Set(places.map(({ method }) => methodOf(method)))];
  if (methods.length === 0) return [];
  const curves = methods.map((method) => curveOf(method, places));
  const kinds = [...new Set(methods.map(kindOf))];
  if (methods.length <= TOGETHER || kinds.length < 2)
    return [{ svg: overPreserving(curves, y), caption: `${caption}: ${HOW}` }];
  return kinds.map((kind) => ({
    svg: overPreserving(
      curves.filter((_, index) => kindOf(methods[index]!) === kind),
      y,
      curves,
    ),
    caption: `${KIND_TITLES[kind as MethodKind]}. ${caption}: ${HOW}`,
  }));
}

function curveOf(name: string, places: readonly Place[]): Curve {
  const rows = places.filter(({ method }) => methodOf(method) === name);
  const points = rows.map(({ method, preserved, rate }, index): Point => {
    /** Whether another point stands where this one's name would, to the right. */
    const crowded = places.some(
      (other) =>
        other.preserved.value > preserved.value &&
        other.preserved.value - preserved.value < NEAR &&
        Math.abs(other.rate.value - rate.value) < NEAR,
    );
    return {
      x: preserved.value,
      y: rate.value,
      xRange: [preserved.low, preserved.high],
      yRange: [rate.low, rate.high],
      hollow: rows.length > 1 && !keepsNeighbours(method),
      ...(index === rows.length - 1 ? { label: titleOf(name) } : {}),
      // A name to the right of the axis' end would be cut off.
      labelSide: preserved.value > 90 || crowded ? "left" : "right",
    };
  });
  return { name: titleOf(name), look: lookOf(name), loose: rows.length === 1, points };
}
