#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>

#include <cmath>

#include "activation.h"
#include "layers.h"

namespace kpop::nn {

/** Sinusoidal features of the timestep (Vaswani et al. 2017, section 3.5), computed in float32.
 *  @param timesteps (B) int64 or float
 *  @param flip_sin_to_cos cosines first
 *  @param freq_shift subtracted from width/2 in the exponent's denominator
 *  @returns (B, width) float32 */
inline Tensor timestep_features(const Tensor& timesteps, int64_t width, bool flip_sin_to_cos,
                                double freq_shift) {
  const int64_t half = width / 2;
  const auto options = timesteps.options().dtype(at::kFloat);
  const auto exponent = at::arange(half, options) * (-std::log(10000.0)) / (half - freq_shift);
  const auto angle = timesteps.to(at::kFloat).unsqueeze(1) * exponent.exp();
  const auto sine = angle.sin(), cosine = angle.cos();
  auto features = flip_sin_to_cos ? at::cat({cosine, sine}, 1) : at::cat({sine, cosine}, 1);
  return width % 2 == 0 ? features : at::constant_pad_nd(features, {0, 1});
}

/** Two-layer perceptron on the timestep features.  (B, width) → (B, time_width) */
class TimestepEmbedding : public torch::nn::Module {
 public:
  TimestepEmbedding(int64_t width, int64_t time_width, Activation act) : act_(act) {
    linear_1_ = register_module("linear_1", std::make_shared<Linear>(width, time_width));
    linear_2_ = register_module("linear_2", std::make_shared<Linear>(time_width, time_width));
  }
  Tensor forward(const Tensor& features) const {
    return linear_2_->forward(activate(linear_1_->forward(features), act_));
  }

 private:
  Activation act_;
  std::shared_ptr<Linear> linear_1_, linear_2_;
};

}  // namespace kpop::nn
