#include "attend.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>
#include <vector>

#include "differentiable.h"
#include "kernels/attention.h"
#include "kernels/choose.h"

namespace kpop::nn {

namespace {

using at::Tensor;
namespace attention = kernels::attention;

/** Queries, keys and values of all heads, contiguous. */
class Heads {
 public:
  Heads(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads)
      : kernels_(kernels::choose<attention::Kernels>(q.size(1) > attention::Kernels::avx2.tile)),
        q_(q),
        k_(k),
        v_(v),
        heads_(heads),
        width_(q.size(2) / heads) {}

  /** @param log_sums (B, heads, N), or undefined   @returns (B, N, heads · head_dim) */
  Tensor forward(const Tensor& log_sums) const {
    const auto result = at::empty_like(q_);
    // A task is a block of queries, not a head: there may be fewer heads than threads.
    in_parallel(batch() * heads_ * blocks(), kernels_.forward_floats(width_), [&](int64_t task, float* work) {
      const int64_t index = task / blocks(), row = task % blocks() * attention::kBlock;
      float* const sums =
          log_sums.defined() ? log_sums.mutable_data_ptr<float>() + index * rows() + row : nullptr;
      kernels_.forward(head(index, row), at<float>(result, index, row), sums, work);
    });
    return result;
  }

  /** Of q, k and v, as `asked` for. */
  std::vector<Tensor> backward(const Tensor& result, const Tensor& log_sums, const Tensor& gradient,
                               const std::array<bool, 3>& asked) const {
    const std::vector<Tensor> found{asked[0] ? at::empty_like(q_) : Tensor(),
                                    asked[1] ? at::zeros_like(k_) : Tensor(),
                                    asked[2] ? at::zeros_like(v_) : Tensor()};
    in_parallel(batch() * heads_, kernels_.backward_floats(width_), [&](int64_t index, float* work) {
      for (int64_t row = 0; row < rows(); row += attention::kBlock)
        kernels_.backward(
            head(index, row),
            {at<const float>(result, index, row), log_sums.const_data_ptr<float>() + index * rows() + row,
             at<const float>(gradient, index, row)},
            {at<float>(found[0], index, row), at<float>(found[1], index, 0), at<float>(found[2], index, 0)},
            work);
    });
    return found;
  }

 private:
  int64_t batch() const { return q_.size(0); }
  int64_t rows() const { return q_.size(1); }
  int64_t blocks() const { return (rows() + attention::kBlock - 1) / attention::kBlock; }

  /** Where a row of a head begins; null in an undefined tensor. */
  template <class Float>
  Float* at(const Tensor& x, int64_t head, int64_t row) const {
    if (!x.defined()) return nullptr;
    const int64_t offset = (head / heads_ * x.size(1) + row) * x.size(2) + head % heads_ * width_;
    if constexpr (std::is_const_v<Float>)
      return x.const_data_ptr<float>() + offset;
    else
      return x.mutable_data_ptr<float>() + offset;
  }

  /** A block of a head's queries, from a row on. */
  attention::Head head(int64_t index, int64_t row) const {
    return {.queries = at<const float>(q_, index, row),
            .keys = at<const float>(k_, index, 0),
            .values = at<const float>(v_, index, 0),
            .rows = std::min(attention::kBlock, rows() - row),
            .key_rows = k_.size(1),
            .width = width_,
            .step = q_.size(2),
            .scale = 1 / std::sqrt(static_cast<float>(width_))};
  }

  /** Calls `use` with each task and memory of so many floats, on all threads. */
  template <class Use>
  static void in_parallel(int64_t tasks, int64_t floats, const Use& use) {
    at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      const auto memory = at::empty({floats}, at::kFloat);
      for (int64_t task = begin; task < end; ++task) use(task, memory.mutable_data_ptr<float>());
    });
  }

  const attention::Kernels& kernels_;
  const Tensor &q_, &k_, &v_;
  int64_t heads_, width_;
};

class Differentiable : public torch::autograd::Function<Differentiable> {
 public:
  using Context = torch::autograd::AutogradContext;

  static Tensor forward(Context* context, const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads) {
    const auto log_sums = at::empty({q.size(0), heads, q.size(1)}, q.options());
    const auto result = Heads(q, k, v, heads).forward(log_sums);
    context->save_for_backward({q, k, v, result, log_sums});
    context->saved_data["heads"] = heads;
    return result;
  }

  static std::vector<Tensor> backward(Context* context, std::vector<Tensor> gradients) {
    const auto saved = context->get_saved_variables();
    const Heads heads(saved[0], saved[1], saved[2], context->saved_data["heads"].toInt());
    auto found = heads.backward(
        saved[3], saved[4], gradients[0].contiguous(),
        {context->needs_input_grad(0), context->needs_input_grad(1), context->needs_input_grad(2)});
    found.emplace_back();
    return found;
  }
};

}  // namespace

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads, bool causal) {
  if (causal || !kernels::has_kernels(q) || !kernels::has_kernels(k) || !kernels::has_kernels(v))
    return at::scaled_dot_product_attention(split_heads(q, heads), split_heads(k, heads),
                                            split_heads(v, heads), /*attn_mask=*/{}, /*dropout_p=*/0.0,
                                            causal)
        .transpose(1, 2)
        .flatten(2);
  const auto queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous();
  if (keeps_graph({q, k, v})) return Differentiable::apply(queries, keys, values, heads);
  return Heads(queries, keys, values, heads).forward({});
}

}  // namespace kpop::nn
