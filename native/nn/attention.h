#pragma once

#include <ATen/ops/softmax.h>

#include <cmath>
#include <optional>

#include "attend.h"
#include "layers.h"

namespace kpop::nn {

/** Shape and options of one attention layer. */
struct AttentionOptions {
  int64_t width = 0;                       // of the queries' input and of the output
  std::optional<int64_t> context_width{};  // of the keys' and values' input; absent: self-attention
  int64_t heads = 1;
  bool bias = false;    // of to_q, to_k, to_v; to_out always has one
  bool upcast = false;  // scores and softmax in float32
};

/** Self- or cross-attention.  hidden (B, N, width), context (B, L, context_width) → (B, N, width) */
class Attention : public torch::nn::Module {
 public:
  explicit Attention(const AttentionOptions& o) : heads_(o.heads), upcast_(o.upcast) {
    check_argument(o.heads > 0 && o.width % o.heads == 0, "Expected the number of channels (", o.width,
                   ") to be a multiple of the number of attention heads, but received ", o.heads);
    const int64_t context = o.context_width.value_or(o.width);
    to_q_ = register_module("to_q", std::make_shared<Linear>(o.width, o.width, o.bias));
    to_k_ = register_module("to_k", std::make_shared<Linear>(context, o.width, o.bias));
    to_v_ = register_module("to_v", std::make_shared<Linear>(context, o.width, o.bias));
    to_out_ = register_module("to_out", std::make_shared<List<Linear>>());
    to_out_->emplace_back(o.width, o.width);
  }

  Tensor forward(const Tensor& hidden, const Tensor& context) const {
    const auto q = to_q_->forward(hidden), k = to_k_->forward(context), v = to_v_->forward(context);
    const auto mixed =
        upcast_
            ? attend(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat), heads_).to(hidden.scalar_type())
            : attend(q, k, v, heads_);
    return (*to_out_)[0].forward(mixed);
  }

  /** What softmax gives of the scores: (B, heads, N, L), each row of sum 1. */
  Tensor probabilities(const Tensor& hidden, const Tensor& context) const {
    const auto scores_of = [this](const Tensor& x) {
      return split_heads(upcast_ ? x.to(at::kFloat) : x, heads_);
    };
    const auto q = scores_of(to_q_->forward(hidden)), k = scores_of(to_k_->forward(context));
    const auto scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
    return at::softmax(q.matmul(k.mT()) * scale, -1).to(hidden.scalar_type());
  }

  /** The layer's output for given probabilities (B, heads, N, L). */
  Tensor forward_with(const Tensor& probabilities, const Tensor& context) const {
    const auto mixed = probabilities.matmul(split_heads(to_v_->forward(context), heads_));
    return (*to_out_)[0].forward(mixed.transpose(1, 2).flatten(2));
  }

 private:
  int64_t heads_;
  bool upcast_;
  std::shared_ptr<Linear> to_q_, to_k_, to_v_;
  std::shared_ptr<List<Linear>> to_out_;
};

}  // namespace kpop::nn
