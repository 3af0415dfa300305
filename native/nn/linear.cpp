#include "linear.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <vector>

#include "differentiable.h"
#include "kernels/choose.h"

namespace kpop::nn {

namespace {

using at::Tensor;

/** oneDNN's product, which libtorch registers for its compiler. It knows nothing of gradients. */
using Product = Tensor(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                       std::string_view activation, c10::List<std::optional<at::Scalar>> scalars,
                       std::optional<std::string_view> algorithm);

std::optional<c10::TypedOperatorHandle<Product>> find_product() {
  const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!found) return std::nullopt;
  return found->typed<Product>();
}

/** Whether oneDNN multiplies faster than MKL, which is what ATen calls. On an EPYC (Zen 3) it is 1.05 to 1.4
 *  times as fast for all but small products, on a Xeon with AVX-512 1.2 to 1.6 times for short sums. */
bool onednn_pays(const Tensor& x, const Tensor& weight) {
  static const bool is_amd = __builtin_cpu_is("amd");
  static const auto instructions = kernels::instructions();
  constexpr int64_t kProducts = int64_t{1} << 23, kRows = 32, kShortSum = 64;
  const bool pays = is_amd ? instructions != kernels::Instructions::none
                           : instructions == kernels::Instructions::avx512 && x.size(-1) <= kShortSum;
  return pays && x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
         weight.dim() == 2 && weight.is_contiguous() && x.numel() >= kRows * weight.size(1) &&
         x.numel() * weight.size(0) >= kProducts;
}

/** x (rows, in), weight (out, in) → (rows, out); undefined where it is not oneDNN's to multiply. */
Tensor multiply(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  static const auto product = find_product();
  if (!product || !onednn_pays(x, weight)) return {};
  return product->call(x.reshape({-1, x.size(-1)}), weight,
                       bias.defined() ? std::optional(bias) : std::nullopt, "none",
                       c10::List<std::optional<at::Scalar>>(), "");
}

/** gradient (rows, out), weight (out, in) → (rows, in) */
Tensor multiply_back(const Tensor& gradient, const Tensor& weight) {
  constexpr int64_t kRows = 1024;  // that make up for a copy of the weights
  if (gradient.size(0) >= kRows)
    if (auto product = multiply(gradient, weight.t().contiguous(), {}); product.defined()) return product;
  return gradient.mm(weight);
}

class Differentiable : public torch::autograd::Function<Differentiable> {
 public:
  static Tensor forward(Factors::Context* context, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias) {
    Factors::save(*context, x, weight, bias);
    return linear(x, weight, bias.value_or(Tensor()));
  }

  static std::vector<Tensor> backward(Factors::Context* context, std::vector<Tensor> gradients) {
    const Factors factors(*context);
    auto shape = gradients[0].sizes().vec();
    const auto gradient = gradients[0].reshape({-1, shape.back()});
    Tensor of_x, of_weight, of_bias;
    if (factors.of_x) {
      shape.back() = factors.weight.size(1);
      of_x = multiply_back(gradient, factors.weight).view(shape);
    }
    if (factors.of_weight) of_weight = gradient.t().mm(factors.x.reshape({-1, factors.x.size(-1)}));
    if (factors.of_bias) of_bias = gradient.sum(0);
    return {of_x, of_weight, of_bias};
  }
};

}  // namespace

Tensor aligned_for(int64_t rows, const Tensor& weight) {
  constexpr int64_t kFewRows = 16;
  constexpr uintptr_t kAlignment = 64;  // of ATen's own memory
  if (rows >= kFewRows || !weight.is_cpu()) return weight;
  return reinterpret_cast<uintptr_t>(weight.const_data_ptr()) % kAlignment == 0 ? weight : weight.clone();
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (onednn_pays(x, weight) && keeps_graph({x, weight, bias})) return apply<Differentiable>(x, weight, bias);
  const auto product = multiply(x, weight, bias);
  if (!product.defined())
    return at::linear(x, aligned_for(x.numel() / std::max<int64_t>(x.size(-1), 1), weight), bias);
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return product.view(shape);
}

}  // namespace kpop::nn
