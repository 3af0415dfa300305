import type { UNetOperation as Operation } from "../../lib/internal";

/** What a step is made of: operations in FLOP, and bytes to and from memory. */
export interface Cost {
  operations: number;
  bytes: number;
}

/** Which gradients a backward computes. */
export interface Backward {
  /** Whether an operation's weight is trained. */
  trains(name: string): boolean;
  /** The first operation, in forward order, that needs a gradient; default the first trained one. */
  from?: RegExp;
}

/** Operations and bytes of one forward of `batch` items; weights are read once. */
export function forwardCost(list: readonly Operation[], batch: number, elementBytes: number): Cost {
  return total(list.map((each) => passCost(each, batch, elementBytes)));
}

/**
 * Operations and bytes of the backward that belongs to it. The gradient by an operation's input and the one by its
 * weight each cost what its forward costs; of an attention, with two inputs, twice that. Nothing goes back beyond the
 * first operation that needs a gradient.
 */
export function backwardCost(
  list: readonly Operation[],
  batch: number,
  elementBytes: number,
  { trains, from }: Backward,
): Cost {
  const first = list.findIndex(({ name }) => (from === undefined ? trains(name) : from.test(name)));
  if (first < 0) throw new Error("no operation needs a gradient");
  return total(
    list.slice(first).flatMap((each) => {
      const once = passCost(each, batch, elementBytes);
      const byInput = each.input === "features" && each.weights > 0;
      const times = each.weights === 0 ? 2 : Number(byInput) + Number(trains(each.name));
      return Array<Cost>(times).fill(once);
    }),
  );
}

/** Bytes of one Adam step: value, both moments and gradient are read, all but the gradient written; float32. */
export function adamCost(list: readonly Operation[], trains: (name: string) => boolean): Cost {
  const trained = list.filter(({ name }) => trains(name));
  return { operations: 0, bytes: 7 * 4 * trained.reduce((sum, { weights }) => sum + weights, 0) };
}

export function total(costs: readonly Cost[]): Cost {
  return costs.reduce(
    (sum, { operations, bytes }) => ({ operations: sum.operations + operations, bytes: sum.bytes + bytes }),
    { operations: 0, bytes: 0 },
  );
}

function passCost({ flops, weights, inputs, outputs }: Operation, batch: number, elementBytes: number): Cost {
  return { operations: batch * flops, bytes: (weights + batch * (inputs + outputs)) * elementBytes };
}
