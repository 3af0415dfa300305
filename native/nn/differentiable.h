#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <optional>

namespace kpop::nn {

/** Whether a result of these, undefined ones among them, has to know where it comes from. */
inline bool keeps_graph(std::initializer_list<std::reference_wrapper<const at::Tensor>> inputs) {
  return at::GradMode::is_enabled() && std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& x) {
           return x.defined() && x.requires_grad();
         });
}

/** What functions of x, a weight and perhaps a bias with gradients of their own have in common: of x and the
 *  weight they keep what the gradient of the other needs, and only where that is asked for. */
class Factors {
 public:
  using Context = torch::autograd::AutogradContext;

  static void save(Context& context, const at::Tensor& x, const at::Tensor& weight,
                   const std::optional<at::Tensor>& bias) {
    context.save_for_backward(
        {weight.requires_grad() ? x : at::Tensor(), x.requires_grad() ? weight : at::Tensor()});
    context.saved_data["biased"] = bias.has_value();
  }

  explicit Factors(Context& context)
      : of_x(context.needs_input_grad(0)),
        of_weight(context.needs_input_grad(1)),
        of_bias(context.saved_data["biased"].toBool() && context.needs_input_grad(2)) {
    const auto saved = context.get_saved_variables();
    x = saved[0];
    weight = saved[1];
  }

  /** Which gradients are asked for. */
  bool of_x, of_weight, of_bias;
  /** Defined where the other's gradient is asked for. */
  at::Tensor x, weight;
};

/** `Function` of them; an undefined bias is none. */
template <class Function>
at::Tensor apply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return Function::apply(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
}

}  // namespace kpop::nn
