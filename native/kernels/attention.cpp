// Compiled for AVX2 and FMA, and for AVX-512: no header whose functions other files share may come in here.
#include "attention.h"

#include <math.h>

#include "lanes.h"

namespace kpop::kernels::attention {

namespace {

/** Queries side by side in a tile, as lanes: neither softmax nor a width that is no multiple of lanes has
 * them summed across. */
constexpr int64_t kTile = 2 * kLanes;
/** Keys whose scores with one tile are kept. */
constexpr int64_t kKeys = 192;

constexpr float kInfinity = __builtin_inff();

constexpr int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
constexpr int64_t whole(int64_t count, int64_t of) {
  return (count + of - 1) / of * of;
}

/** The left factor of a product: steps from one row to the next and from one term of a sum to the next. */
struct Left {
  const float* at;
  int64_t row, term;
};

/** Rows of lanes: the right factor, or a result. */
template <class Float>
struct Wide {
  Float* at;
  int64_t step;
};

/** What becomes of sums, beside what was there before. They begin at 0: long ones are sums of sums, whose
 * error is smaller. */
struct Stored {
  Lanes operator()(Lanes sum, Lanes, int) const { return sum; }
};
struct Added {
  Lanes operator()(Lanes sum, Lanes before, int) const { return before + sum; }
};
struct AddedToScaled {
  const float* factors;  // by lane
  Lanes operator()(Lanes sum, Lanes before, int column) const {
    return before * load(factors + column * kLanes) + sum;
  }
};

/** Products of some rows and columns of vectors, whose sums stay in registers. */
template <int Rows, int Columns, class Finish>
[[gnu::always_inline]] inline void multiply_some(Left left, Wide<const float> right, int64_t terms,
                                                 Wide<float> result, const Finish& finish) {
  Lanes sums[Rows][Columns]{};
  for (int64_t term = 0; term < terms; ++term) {
    Lanes factors[Columns];
#pragma GCC unroll 8
    for (int j = 0; j < Columns; ++j) factors[j] = load(right.at + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Lanes factor = every(left.at[i * left.row]);
#pragma GCC unroll 8
      for (int j = 0; j < Columns; ++j) sums[i][j] += factor * factors[j];
    }
    left.at += left.term;
    right.at += right.step;
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < Columns; ++j) {
      float* const at = result.at + i * result.step + j * kLanes;
      store(at, finish(sums[i][j], load(at), j));
    }
}

/** (rows, terms) · (terms, lanes of `Columns` vectors) → (rows, lanes) */
template <int Columns, class Finish>
void multiply(int64_t rows, Left left, Wide<const float> right, int64_t terms, Wide<float> result,
              const Finish& finish) {
  constexpr int kRows = 6;
  for (; rows >= kRows; rows -= kRows, left.at += kRows * left.row, result.at += kRows * result.step)
    multiply_some<kRows, Columns>(left, right, terms, result, finish);
  switch (rows) {
    case 5:
      return multiply_some<5, Columns>(left, right, terms, result, finish);
    case 4:
      return multiply_some<4, Columns>(left, right, terms, result, finish);
    case 3:
      return multiply_some<3, Columns>(left, right, terms, result, finish);
    case 2:
      return multiply_some<2, Columns>(left, right, terms, result, finish);
    case 1:
      return multiply_some<1, Columns>(left, right, terms, result, finish);
    default:
      return;
  }
}

/** result += left · right, (rows, kTile) · (kTile, width), the width a multiple of lanes. */
void add_product(int64_t rows, Left left, Wide<const float> right, int64_t width, Wide<float> result) {
  for (; width >= kTile; width -= kTile, right.at += kTile, result.at += kTile)
    multiply<2>(rows, left, right, kTile, result, Added());
  if (width > 0) multiply<1>(rows, left, right, kTile, result, Added());
}

/** `rows` of (count, width) as columns of (width, kTile), zero where there are no more. */
void turn(const float* rows, int64_t count, int64_t width, int64_t step, float* columns) {
  count = smaller(count, kTile);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t j = 0; j < width; ++j) columns[j * kTile + r] = rows[r * step + j];
  for (int64_t j = 0; j < width; ++j)
    for (int64_t r = count; r < kTile; ++r) columns[j * kTile + r] = 0;
}

/** @param count a multiple of lanes */
void fill(float* numbers, int64_t count, float value) {
  for (int64_t i = 0; i < count; i += kLanes) store(numbers + i, every(value));
}

/** `rows` of (count, width) as ones of whole lanes, kTile of them, zero where there are no more. */
void copy(const float* rows, int64_t count, int64_t width, int64_t step, float* to) {
  const int64_t padded = whole(width, kLanes);
  for (int64_t r = 0; r < kTile; ++r, to += padded) {
    const int64_t own = r < count ? width : 0;
    int64_t j = 0;
    for (; j + kLanes <= own; j += kLanes) store(to + j, load(rows + r * step + j));
    for (; j < padded; ++j) to[j] = j < own ? rows[r * step + j] : 0;
  }
}

/** rows += scale · `from`, which is of whole lanes. */
void add(const float* from, float scale, int64_t count, int64_t width, int64_t step, float* rows) {
  for (int64_t r = 0; r < count; ++r, rows += step, from += whole(width, kLanes)) {
    int64_t j = 0;
    for (; j + kLanes <= width; j += kLanes) store(rows + j, load(rows + j) + scale * load(from + j));
    for (; j < width; ++j) rows[j] += scale * from[j];
  }
}

float dot(const float* a, const float* b, int64_t width) {
  Lanes sums{};
  float sum = 0;
  int64_t j = 0;
  for (; j + kLanes <= width; j += kLanes) sums += load(a + j) * load(b + j);
  for (; j < width; ++j) sum += a[j] * b[j];
  for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  return sum;
}

/** `columns` of (width, kTile) as rows, each times its factor. */
void turn_back(const float* columns, const float* factors, int64_t count, int64_t width, int64_t step,
               float* rows) {
  for (int64_t r = 0; r < smaller(count, kTile); ++r)
    for (int64_t j = 0; j < width; ++j) rows[r * step + j] = columns[j * kTile + r] * factors[r];
}

/** Of a tile of queries: they and their results as columns, the largest score yet, the exponentials' sum. */
struct ForwardTile {
  static constexpr int64_t floats(int64_t width) { return 2 * kTile * (width + 1); }
  ForwardTile(float* memory, int64_t index, int64_t width)
      : queries(memory + index * floats(width)),
        values(queries + width * kTile),
        maxima(values + width * kTile),
        sums(maxima + kTile) {}
  float *queries, *values, *maxima, *sums;
};

/** e^(scale (score - largest)) in place of scores, with the largest of all until now.
 *  @param factors of what was summed with the largest before */
void soften(float* scores, int64_t keys, float scale, const ForwardTile& tile, float* factors) {
  constexpr int kColumns = kTile / kLanes;
  Lanes largest[kColumns], shift[kColumns], sums[kColumns]{};
#pragma GCC unroll 2
  for (int j = 0; j < kColumns; ++j) largest[j] = load(tile.maxima + j * kLanes);
  for (int64_t at = 0; at < keys * kTile; at += kTile)
#pragma GCC unroll 2
    for (int j = 0; j < kColumns; ++j) largest[j] = larger(load(scores + at + j * kLanes), largest[j]);
#pragma GCC unroll 2
  for (int j = 0; j < kColumns; ++j) {
    shift[j] = largest[j] * scale;
    store(factors + j * kLanes, exponential(load(tile.maxima + j * kLanes) * scale - shift[j]));
    store(tile.maxima + j * kLanes, largest[j]);
  }
  for (int64_t at = 0; at < keys * kTile; at += kTile)
#pragma GCC unroll 2
    for (int j = 0; j < kColumns; ++j) {
      const Lanes value = exponential(load(scores + at + j * kLanes) * scale - shift[j]);
      store(scores + at + j * kLanes, value);
      sums[j] += value;
    }
#pragma GCC unroll 2
  for (int j = 0; j < kColumns; ++j) {
    float* const total = tile.sums + j * kLanes;
    store(total, load(total) * load(factors + j * kLanes) + sums[j]);
  }
}

/** Of a tile of queries, in rows of whole lanes and as columns: they, and the gradient of their results. */
struct BackwardTile {
  static constexpr int64_t floats(int64_t width) {
    return kTile * (3 * width + 2 * whole(width, kLanes) + 2);
  }
  BackwardTile(float* memory, int64_t index, int64_t width)
      : queries(memory + index * floats(width)),
        gradients(queries + width * kTile),
        of_queries(gradients + width * kTile),
        query_rows(of_queries + width * kTile),
        gradient_rows(query_rows + whole(width, kLanes) * kTile),
        log_sums(gradient_rows + whole(width, kLanes) * kTile),
        products(log_sums + kTile) {}
  float *queries, *gradients, *of_queries, *query_rows, *gradient_rows, *log_sums, *products;

  /** @param row of the head, the tile's first */
  void read(const Head& head, const Result& result, int64_t row) const {
    const int64_t count = head.rows - row, width = head.width, from = row * head.step;
    turn(head.queries + from, count, width, head.step, queries);
    turn(result.gradient + from, count, width, head.step, gradients);
    fill(of_queries, width * kTile, 0);
    copy(head.queries + from, count, width, head.step, query_rows);
    copy(result.gradient + from, count, width, head.step, gradient_rows);
    for (int64_t r = 0; r < kTile; ++r) {
      const int64_t at = from + r * head.step;
      log_sums[r] = r < count ? result.log_sums[row + r] : 0;
      products[r] = r < count ? dot(result.gradient + at, result.values + at, width) : 0;
    }
  }

  /** P and, in place of dP, dS = P ∘ (dP - D). */
  void errors(float* scores, float* steps, int64_t keys, float scale) const {
    for (int64_t key = 0; key < keys; ++key)
      for (int64_t j = 0; j < kTile; j += kLanes) {
        const int64_t at = key * kTile + j;
        const Lanes probability = exponential(load(scores + at) * scale - load(log_sums + j));
        store(scores + at, probability);
        store(steps + at, probability * (load(steps + at) - load(products + j)));
      }
  }
};

int64_t forward_floats(int64_t width) {
  return kTile * (kKeys + 1) + kBlock / kTile * ForwardTile::floats(width);
}

void forward(const Head& head, float* result, float* log_sums, float* work) {
  const int64_t width = head.width, step = head.step;
  float *const scores = work, *const factors = scores + kKeys * kTile, *const tiles = factors + kTile;
  for (int64_t row = 0; row < head.rows; row += kTile) {
    const ForwardTile tile(tiles, row / kTile, width);
    turn(head.queries + row * step, head.rows - row, width, step, tile.queries);
    fill(tile.values, width * kTile, 0);
    fill(tile.maxima, kTile, -kInfinity);
    fill(tile.sums, kTile, 0);
  }
  for (int64_t key = 0; key < head.key_rows; key += kKeys)
    for (int64_t row = 0; row < head.rows; row += kTile) {
      const ForwardTile tile(tiles, row / kTile, width);
      const int64_t keys = smaller(kKeys, head.key_rows - key);
      multiply<2>(keys, {head.keys + key * step, step, 1}, {tile.queries, kTile}, width, {scores, kTile},
                  Stored());
      soften(scores, keys, head.scale, tile, factors);
      multiply<2>(width, {head.values + key * step, 1, step}, {scores, kTile}, keys, {tile.values, kTile},
                  AddedToScaled{factors});
    }
  for (int64_t row = 0; row < head.rows; row += kTile) {
    const ForwardTile tile(tiles, row / kTile, width);
    for (int64_t r = 0; r < smaller(kTile, head.rows - row); ++r) {
      if (log_sums != nullptr) log_sums[row + r] = tile.maxima[r] * head.scale + logf(tile.sums[r]);
      factors[r] = 1 / tile.sums[r];
    }
    turn_back(tile.values, factors, head.rows - row, width, step, result + row * step);
  }
}

int64_t backward_floats(int64_t width) {
  return kKeys * (2 * kTile + 2 * whole(width, kLanes)) + kBlock / kTile * BackwardTile::floats(width) +
         kTile;
}

void backward(const Head& head, const Result& result, const Gradients& gradients, float* work) {
  const int64_t width = head.width, step = head.step, padded = whole(width, kLanes);
  float *const scores = work, *const steps = scores + kKeys * kTile, *const of_keys = steps + kKeys * kTile,
               *const of_values = of_keys + kKeys * padded, *const scales = of_values + kKeys * padded,
               *const tiles = scales + kTile;
  for (int64_t row = 0; row < head.rows; row += kTile)
    BackwardTile(tiles, row / kTile, width).read(head, result, row);
  for (int64_t key = 0; key < head.key_rows; key += kKeys) {
    const int64_t keys = smaller(kKeys, head.key_rows - key), from = key * step;
    fill(of_keys, keys * padded, 0);
    fill(of_values, keys * padded, 0);
    for (int64_t row = 0; row < head.rows; row += kTile) {
      const BackwardTile tile(tiles, row / kTile, width);
      multiply<2>(keys, {head.keys + from, step, 1}, {tile.queries, kTile}, width, {scores, kTile}, Stored());
      multiply<2>(keys, {head.values + from, step, 1}, {tile.gradients, kTile}, width, {steps, kTile},
                  Stored());
      tile.errors(scores, steps, keys, head.scale);
      if (gradients.values != nullptr)
        add_product(keys, {scores, kTile, 1}, {tile.gradient_rows, padded}, padded, {of_values, padded});
      if (gradients.keys != nullptr)
        add_product(keys, {steps, kTile, 1}, {tile.query_rows, padded}, padded, {of_keys, padded});
      if (gradients.queries != nullptr)
        multiply<2>(width, {head.keys + from, 1, step}, {steps, kTile}, keys, {tile.of_queries, kTile},
                    Added());
    }
    if (gradients.values != nullptr) add(of_values, 1, keys, width, step, gradients.values + from);
    if (gradients.keys != nullptr) add(of_keys, head.scale, keys, width, step, gradients.keys + from);
  }
  if (gradients.queries == nullptr) return;
  fill(scales, kTile, head.scale);
  for (int64_t row = 0; row < head.rows; row += kTile) {
    const BackwardTile tile(tiles, row / kTile, width);
    turn_back(tile.of_queries, scales, head.rows - row, width, step, gradients.queries + row * step);
  }
}

constexpr Kernels kKernels{kTile, forward_floats, backward_floats, forward, backward};

}  // namespace

const Kernels Kernels::KPOP_INSTRUCTIONS = kKernels;

}  // namespace kpop::kernels::attention
