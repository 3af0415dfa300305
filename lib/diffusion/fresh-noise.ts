import { Random } from "../runtime/random";
import { Tensor } from "../runtime/tensor";

/** PyTorch fills normal draws in blocks of so many. */
const BLOCK = 16;

/**
 * What a stochastic sampler adds to pictures, evaluation by evaluation: the draws that follow the starting noise in PyTorch's
 * CPU generator of each picture's seed, as diffusers' pipeline with a generator for each picture has them (where a picture's
 * latents are a multiple of 16 numbers; else draws of their own).
 * @param shape of one picture's latents, (1, 4, h, w)   @param count how many evaluations there are
 * @param afterStart whether the starting noise is the seed's first draw, not given by the caller
 * @returns (B, 4, h, w) for each evaluation
 */
export function freshNoise(
  seeds: readonly number[],
  shape: readonly number[],
  { count, afterStart }: { count: number; afterStart: boolean },
): (evaluation: number) => Tensor {
  const size = shape.reduce((product, side) => product * side, 1);
  // A draw whose size is no multiple of a block takes another block for its tail.
  const stride = size % BLOCK === 0 ? size : (Math.ceil(size / BLOCK) + 1) * BLOCK;
  const skipped = afterStart ? 1 : 0;
  const draws = seeds.map((seed) => new Random(seed).normal([(skipped + count) * stride]));
  return (evaluation) => {
    const from = (skipped + evaluation) * stride;
    return Tensor.cat(draws.map((draw) => draw.slice(0, from, from + size).reshape([...shape])));
  };
}
