import type { Dtype } from "../runtime/tensor";

/**
 * What losses are multiplied by on their way back through a network that computes in a dtype, and their gradients divided
 * by: what float16 can't hold, below 6e-8, is then no zero (Micikevicius et al. 2018, arXiv 1710.03740, §3.2). The mean
 * over a picture's latents makes gradients that small.
 */
export function lossScale(dtype: Dtype): number {
  return dtype === "float16" ? 4096 : 1;
}
