#pragma once

#include <cstdint>

namespace kpop::kernels::winograd {

/** Some of what is counted from 0. */
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

/** Pictures (batch, height, width, channels) in tiles with the same number of results on each side, row by
 *  row; the last ones of a row and of a column may reach beyond the picture. */
struct Grid {
  int64_t height, width, channels, rows, columns;
};

/** Part of a grid: tiles, and of them the ones to work on, and channels. */
struct Part {
  Range tiles, some, channels;
};

/** Part of weights (outputs, 3, 3, inputs): outputs, and of them the ones to work on, and inputs. */
struct WeightPart {
  Range outputs, some, inputs;
};

/** The transforms of tiles of `output`×`output` results, which come of (output + 2)² values. Those are kept
 * as so many matrices, one for each place in a tile: (places, tiles, channels) of a part. Channels are
 * multiples of the lanes. */
struct Transforms {
  int64_t output, places;

  /** Pictures → places, as a convolution with padding 1 takes them. */
  void (*spread_input)(const float* pictures, const Grid& grid, const Part& part, float* places);

  /** Pictures → places: the adjoint of `gather_output`. */
  void (*spread_output)(const float* pictures, const Grid& grid, const Part& part, float* places);

  /** Places → pictures, plus bias (channels of the grid) unless it is null. */
  void (*gather_output)(const float* places, const float* bias, const Grid& grid, const Part& part,
                        float* pictures);

  /** Weights → (places, outputs, inputs) of a part.
   *  @param turned by half a turn, as the gradient of the input takes them */
  void (*spread_weights)(const float* weights, int64_t inputs, const WeightPart& part, bool turned,
                         float* places);

  /** (places, outputs, inputs) of a part → weights: the adjoint of `spread_weights`. */
  void (*gather_weights)(const float* places, int64_t inputs, const WeightPart& part, float* weights);
};

/** What is compiled for each set of instructions. */
struct Kernels {
  /** Numbers that are computed at once. */
  int64_t lanes;
  /** Of tiles of 2×2 and of 4×4 results. */
  Transforms small, large;

  static const Kernels avx2, avx512;
};

}  // namespace kpop::kernels::winograd
