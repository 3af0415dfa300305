#pragma once

#include <cstdint>

namespace kpop::nn::winograd {

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

/** The transforms of tiles of `Output`×`Output` results, 2 or 4, which come of (Output + 2)² values. Those
 *  are kept as so many matrices, one for each place in a tile: (kPlaces, tiles, channels) of a part. Channels
 *  are multiples of 8. The transforms need AVX2 and FMA. */
template <int Output>
struct Tile {
  static constexpr int64_t kOutput = Output, kInput = Output + 2, kPlaces = kInput * kInput;

  /** Pictures → places, as a convolution with padding 1 takes them. */
  static void spread_input(const float* pictures, const Grid& grid, const Part& part, float* places);

  /** Pictures → places: the adjoint of `gather_output`. */
  static void spread_output(const float* pictures, const Grid& grid, const Part& part, float* places);

  /** Places → pictures, plus bias (channels of the grid) unless it is null. */
  static void gather_output(const float* places, const float* bias, const Grid& grid, const Part& part,
                            float* pictures);

  /** Weights → (kPlaces, outputs, inputs) of a part.
   *  @param turned by half a turn, as the gradient of the input takes them */
  static void spread_weights(const float* weights, int64_t inputs, const WeightPart& part, bool turned,
                             float* places);

  /** (kPlaces, outputs, inputs) of a part → weights: the adjoint of `spread_weights`. */
  static void gather_weights(const float* places, int64_t inputs, const WeightPart& part, float* weights);
};

extern template struct Tile<2>;
extern template struct Tile<4>;

}  // namespace kpop::nn::winograd
