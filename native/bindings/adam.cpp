#include "bindings/adam.h"

#include <ATen/ATen.h>

#include "nn/argument_error.h"

namespace kpop {

Adam::Adam(std::vector<at::Tensor> parameters, AdamOptions options)
    : parameters_(std::move(parameters)), options_(options) {
  at::NoGradGuard no_grad;
  for (const auto& parameter : parameters_) {
    if (!parameter.is_leaf() || !parameter.is_floating_point()) {
      throw ArgumentError("Adam needs leaf tensors of a floating dtype");
    }
    first.push_back(at::zeros_like(parameter));
    second.push_back(at::zeros_like(parameter));
    steps.push_back(at::zeros({}, parameter.options().dtype(at::kFloat).requires_grad(false)));
  }
}

void Adam::step(double learning_rate) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> parameters, gradients, first_moments, second_moments, counts;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& gradient = parameters_[i].grad();
    if (!gradient.defined()) continue;
    parameters.push_back(parameters_[i]);
    gradients.push_back(gradient);
    first_moments.push_back(first[i]);
    second_moments.push_back(second[i]);
    counts.push_back(steps[i].add_(1));
  }
  if (parameters.empty()) return;
  auto* const update = options_.decoupled ? &at::_ops::_fused_adamw_::call : &at::_ops::_fused_adam_::call;
  update(parameters, gradients, first_moments, second_moments, {}, counts, learning_rate, options_.beta1,
         options_.beta2, options_.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false,
         /*grad_scale=*/{}, /*found_inf=*/{});
  for (auto& parameter : parameters) parameter.mutable_grad().reset();
}

}  // namespace kpop
