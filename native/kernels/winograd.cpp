// Compiled for AVX2 and FMA, and for AVX-512: no header whose functions other files share may come in here.
#include "winograd.h"

#include "lanes.h"

namespace kpop::kernels::winograd {

namespace {

constexpr int kKernel = 3;

template <int Rows, int Columns>
struct Matrix {
  float at[Rows][Columns];

  constexpr Matrix<Columns, Rows> transposed() const {
    Matrix<Columns, Rows> result{};
    for (int i = 0; i < Rows; ++i)
      for (int j = 0; j < Columns; ++j) result.at[j][i] = at[i][j];
    return result;
  }
};

/** What turns the input's values, the weights and the products into others, by Toom and Cook: values of
 *  polynomials at points, the last of them infinity. */
template <int Output>
struct Matrices;

template <>
struct Matrices<2> {  // at 0, 1, -1
  static constexpr Matrix<4, 4> kInput{{
      {1, 0, -1, 0},
      {0, 1. / 2, 1. / 2, 0},
      {0, -1. / 2, 1. / 2, 0},
      {0, -1, 0, 1},
  }};
  static constexpr Matrix<4, kKernel> kWeight{{{1, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 1}}};
  static constexpr Matrix<2, 4> kProduct{{{1, 1, 1, 0}, {0, 1, -1, 1}}};
};

template <>
struct Matrices<4> {  // at 0, 1, -1, 1/2, -2, whose error is a third of that at 0, 1, -1, 2, -2
  static constexpr Matrix<6, 6> kInput{{
      {1, -3. / 2, -2, 3. / 2, 1, 0},
      {0, -1. / 3, 1. / 6, 5. / 6, 1. / 3, 0},
      {0, -1. / 3, 5. / 6, -1. / 6, -1. / 3, 0},
      {0, 32. / 15, 16. / 15, -32. / 15, -16. / 15, 0},
      {0, 1. / 30, -1. / 15, -1. / 30, 1. / 15, 0},
      {0, 1, -3. / 2, -2, 3. / 2, 1},
  }};
  static constexpr Matrix<6, kKernel> kWeight{{
      {1, 0, 0},
      {1, 1, 1},
      {1, -1, 1},
      {1, 1. / 2, 1. / 4},
      {1, -2, 4},
      {0, 0, 1},
  }};
  static constexpr Matrix<4, 6> kProduct{{
      {1, 1, 1, 1, 1, 0},
      {0, 1, -1, 1. / 2, -2, 0},
      {0, 1, 1, 1. / 4, 4, 0},
      {0, 1, -1, 1. / 8, -8, 1},
  }};
};

/** M v of vectors that lie `Step` apart; loops have constant bounds, so that zeros and ones cost nothing. */
template <const auto& M, int Rows, int Columns, int From, int To>
[[gnu::always_inline]] inline void multiply(const Lanes* values, Lanes* results) {
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    Lanes sum{};
#pragma GCC unroll 8
    for (int j = 0; j < Columns; ++j) {
      const float factor = M.at[i][j];
      if (factor == 1)
        sum += values[j * From];
      else if (factor == -1)
        sum -= values[j * From];
      else if (factor != 0)
        sum += factor * values[j * From];
    }
    results[i * To] = sum;
  }
}

/** M s M^T of a square of values. */
template <const auto& M, int Rows, int Columns>
[[gnu::always_inline]] inline void on_both_sides(const Lanes (&s)[Columns][Columns],
                                                 Lanes (&result)[Rows][Rows]) {
  Lanes half[Rows][Columns];
#pragma GCC unroll 8
  for (int j = 0; j < Columns; ++j) multiply<M, Rows, Columns, Columns, Columns>(&s[0][j], &half[0][j]);
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) multiply<M, Rows, Columns, 1, 1>(half[i], result[i]);
}

/** Where a tile begins. */
struct Place {
  Place(const Grid& grid, int64_t tile, int64_t size)
      : picture(tile / (grid.rows * grid.columns)),
        y(tile / grid.columns % grid.rows * size),
        x(tile % grid.columns * size) {}
  int64_t picture, y, x;
};

/** Where a tile's first channel stands in the matrix of its first place. */
inline int64_t offset_of(int64_t tile, const Part& part) {
  return (tile - part.tiles.begin) * part.channels.size();
}

/** Squares of `Side`² values, a tile apart by `size` and begun `before` it, zero outside, through M. */
template <const auto& M, int Rows, int Side>
void spread(const float* pictures, const Grid& grid, const Part& part, int64_t size, int64_t before,
            float* places) {
  const int64_t stride = part.tiles.size() * part.channels.size();
  for (int64_t tile = part.some.begin; tile < part.some.end; ++tile) {
    const Place at(grid, tile, size);
    const float* sources[Side][Side];
    for (int i = 0; i < Side; ++i)
      for (int j = 0; j < Side; ++j) {
        const int64_t y = at.y + i - before, x = at.x + j - before;
        const bool inside = y >= 0 && y < grid.height && x >= 0 && x < grid.width;
        const int64_t pixel = (at.picture * grid.height + y) * grid.width + x;
        sources[i][j] = inside ? pictures + pixel * grid.channels + part.channels.begin : nullptr;
      }
    float* to = places + offset_of(tile, part);
    for (int64_t c = 0; c < part.channels.size(); c += kLanes) {
      Lanes values[Side][Side], changed[Rows][Rows];
      for (int i = 0; i < Side; ++i)
        for (int j = 0; j < Side; ++j)
          values[i][j] = sources[i][j] == nullptr ? Lanes{} : load(sources[i][j] + c);
      on_both_sides<M, Rows, Side>(values, changed);
      for (int i = 0; i < Rows; ++i)
        for (int j = 0; j < Rows; ++j) store(to + (i * Rows + j) * stride + c, changed[i][j]);
    }
  }
}

/** Values on each side of a tile. */
template <int Output>
constexpr int kSide = Output + 2;

template <int Output>
void spread_input(const float* pictures, const Grid& grid, const Part& part, float* places) {
  spread<Matrices<Output>::kInput, kSide<Output>, kSide<Output>>(pictures, grid, part, Output, 1, places);
}

template <int Output>
void spread_output(const float* pictures, const Grid& grid, const Part& part, float* places) {
  static constexpr auto kAdjoint = Matrices<Output>::kProduct.transposed();
  spread<kAdjoint, kSide<Output>, Output>(pictures, grid, part, Output, 0, places);
}

template <int Output>
void gather_output(const float* places, const float* bias, const Grid& grid, const Part& part,
                   float* pictures) {
  const int64_t stride = part.tiles.size() * part.channels.size();
  for (int64_t tile = part.some.begin; tile < part.some.end; ++tile) {
    const Place at(grid, tile, Output);
    const int64_t rows = at.y + Output <= grid.height ? Output : grid.height - at.y;
    const int64_t columns = at.x + Output <= grid.width ? Output : grid.width - at.x;
    const float* from = places + offset_of(tile, part);
    const int64_t pixel = (at.picture * grid.height + at.y) * grid.width + at.x;
    float* to = pictures + pixel * grid.channels + part.channels.begin;
    for (int64_t c = 0; c < part.channels.size(); c += kLanes) {
      Lanes values[kSide<Output>][kSide<Output>], results[Output][Output];
      for (int i = 0; i < kSide<Output>; ++i)
        for (int j = 0; j < kSide<Output>; ++j)
          values[i][j] = load(from + (i * kSide<Output> + j) * stride + c);
      on_both_sides<Matrices<Output>::kProduct, Output, kSide<Output>>(values, results);
      const Lanes added = bias == nullptr ? Lanes{} : load(bias + part.channels.begin + c);
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j)
          store(to + (i * grid.width + j) * grid.channels + c, results[i][j] + added);
    }
  }
}

template <int Output>
void spread_weights(const float* weights, int64_t inputs, const WeightPart& part, bool turned,
                    float* places) {
  constexpr int kTaps = kKernel * kKernel;
  const int64_t width = part.inputs.size(), stride = part.outputs.size() * width;
  for (int64_t o = part.some.begin; o < part.some.end; ++o) {
    const float* from = weights + o * kTaps * inputs + part.inputs.begin;
    float* to = places + (o - part.outputs.begin) * width;
    for (int64_t c = 0; c < width; c += kLanes) {
      Lanes values[kKernel][kKernel], changed[kSide<Output>][kSide<Output>];
      for (int i = 0; i < kKernel; ++i)
        for (int j = 0; j < kKernel; ++j) {
          const int tap = i * kKernel + j;
          values[i][j] = load(from + (turned ? kTaps - 1 - tap : tap) * inputs + c);
        }
      on_both_sides<Matrices<Output>::kWeight, kSide<Output>, kKernel>(values, changed);
      for (int i = 0; i < kSide<Output>; ++i)
        for (int j = 0; j < kSide<Output>; ++j)
          store(to + (i * kSide<Output> + j) * stride + c, changed[i][j]);
    }
  }
}

template <int Output>
void gather_weights(const float* places, int64_t inputs, const WeightPart& part, float* weights) {
  static constexpr auto kAdjoint = Matrices<Output>::kWeight.transposed();
  const int64_t width = part.inputs.size(), stride = part.outputs.size() * width;
  for (int64_t o = part.some.begin; o < part.some.end; ++o) {
    const float* from = places + (o - part.outputs.begin) * width;
    float* to = weights + o * kKernel * kKernel * inputs + part.inputs.begin;
    for (int64_t c = 0; c < width; c += kLanes) {
      Lanes values[kSide<Output>][kSide<Output>], results[kKernel][kKernel];
      for (int i = 0; i < kSide<Output>; ++i)
        for (int j = 0; j < kSide<Output>; ++j)
          values[i][j] = load(from + (i * kSide<Output> + j) * stride + c);
      on_both_sides<kAdjoint, kKernel, kSide<Output>>(values, results);
      for (int i = 0; i < kKernel; ++i)
        for (int j = 0; j < kKernel; ++j) store(to + (i * kKernel + j) * inputs + c, results[i][j]);
    }
  }
}

template <int Output>
constexpr Transforms kTransforms{
    Output,
    kSide<Output> * kSide<Output>,
    spread_input<Output>,
    spread_output<Output>,
    gather_output<Output>,
    spread_weights<Output>,
    gather_weights<Output>,
};

constexpr Kernels kKernels{kLanes, kTransforms<2>, kTransforms<4>};

}  // namespace

const Kernels Kernels::KPOP_INSTRUCTIONS = kKernels;

}  // namespace kpop::kernels::winograd
