import { unetOperations, type UNetShape } from "../../lib/internal";
import { GENERATE } from "./assignment";
import { adamCost, backwardCost, forwardCost, total, type Cost } from "./costs";

/** What the best kernels reach on an H200: a bfloat16 product of 8192 × 8192 matrices, and a copy on the device. */
export const H200 = { operationsPerSecond: 790e12, bytesPerSecond: 4.3e12 } as const;

/** Sizes that a step depends on beside the network. */
export interface StepSizes {
  /** Side of the latents. */
  side: number;
  /** Rows of a text, L. */
  tokens: number;
  /** Rows of KPOP's prompt, k. */
  promptRows: number;
  /** Pictures of a CA iteration. */
  caBatch: number;
  /** Of weights and activations. */
  elementBytes: number;
}

/**
 * Operations and bytes of the UNet in one iteration of a method, with the library's defaults and latents from a pool,
 * or in one guided denoising step; null for a method that is not counted. Text encoder and autoencoder run before the first step and are not in it.
 */
export function stepCost(method: string, config: UNetShape, sizes: StepSizes): Cost | null {
  const { side, tokens, promptRows, caBatch, elementBytes } = sizes;
  const plain = unetOperations(config, side, tokens);
  const inMiddle = unetOperations(config, side, tokens + promptRows);
  // The prompt enters the middle block's cross-attention alone.
  const prompted = plain.map((each, index) => (each.name.startsWith("mid_block.") ? inMiddle[index]! : each));
  const forward = (batch: number, list = plain): Cost => forwardCost(list, batch, elementBytes);
  const xattn = (name: string): boolean => /attn2\.to_/.test(name);
  const keysAndValues = (name: string): boolean => /attn2\.to_[kv]$/.test(name);

  switch (method) {
    case "kpop":
      return total([
        forward(2), // the teacher, for concept and neutral text
        forward(1, prompted),
        backwardCost(prompted, 1, elementBytes, {
          trains: () => false,
          from: /^mid_block\..*attn2\.to_k$/,
        }),
        forward(1),
        backwardCost(plain, 1, elementBytes, { trains: xattn }),
        forward(1), // the unconditional half of the trajectory's step
        forward(1, prompted),
        backwardCost(prompted, 1, elementBytes, { trains: xattn }),
        adamCost(plain, xattn),
      ]);
    case "esd":
      return total([
        forward(2),
        forward(1),
        backwardCost(plain, 1, elementBytes, { trains: xattn }),
        forward(1),
        adamCost(plain, xattn),
      ]);
    case "ca":
      return total([
        forward(caBatch),
        forward(caBatch),
        backwardCost(plain, caBatch, elementBytes, { trains: keysAndValues }),
        adamCost(plain, keysAndValues),
      ]);
    case GENERATE:
      return forward(2);
    default:
      return null;
  }
}

/** Seconds below which no kernel on an H200 does it: the larger of its operations' time and its bytes'. */
export function floorSeconds({ operations, bytes }: Cost): number {
  return Math.max(operations / H200.operationsPerSecond, bytes / H200.bytesPerSecond);
}
