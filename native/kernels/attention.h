#pragma once

#include <cstdint>

namespace kpop::kernels::attention {

/** Queries of one head, its keys and its values: float32 rows, `step` numbers apart. */
struct Head {
  const float *queries, *keys, *values;
  int64_t rows, key_rows, width, step;
  float scale;  // of the scores
};

/** What comes of a head, and the gradient of that. */
struct Result {
  const float *values, *log_sums, *gradient;
};

/** Where gradients go; the keys' and the values' are added. Null where they are not asked for. */
struct Gradients {
  float *queries, *keys, *values;
};

/** Queries that are worth one call: the keys come from a near cache for all but the first of them. */
constexpr int64_t kBlock = 192;

/** What is compiled for each set of instructions. */
struct Kernels {
  /** Queries side by side: a block with fewer takes as long as one with so many. */
  int64_t tile;

  /** Floats that the functions below work in, for at most `kBlock` queries. */
  int64_t (*forward_floats)(int64_t width);
  int64_t (*backward_floats)(int64_t width);

  /** softmax(scale · Q Kᵀ) V without ever having all scores (Dao et al. 2022, arXiv 2205.14135).
   *  @param result rows, `step` apart
   *  @param log_sums of each query, log Σ exp(scores); or null */
  void (*forward)(const Head& head, float* result, float* log_sums, float* work);

  /** The gradients of the same (arXiv 2205.14135, algorithm 4). */
  void (*backward)(const Head& head, const Result& result, const Gradients& gradients, float* work);

  static const Kernels avx2, avx512;
};

}  // namespace kpop::kernels::attention
