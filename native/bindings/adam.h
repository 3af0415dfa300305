#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace kpop {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;  // decay the parameters themselves (AdamW), not the gradients
};

/** Adam (arXiv 1412.6980, algorithm 1), or AdamW (arXiv 1711.05101, algorithm 2), over a fixed list of
 *  parameters, in one fused pass.
 *  The moments have each parameter's shape and dtype; `steps` are float32 scalars. All are made at the start,
 * so that a saved state can be copied into them. */
class Adam {
 public:
  Adam(std::vector<at::Tensor> parameters, AdamOptions options);

  /** One update of every parameter that has a gradient, and of no other; the gradients are dropped. */
  void step(double learning_rate);

  std::vector<at::Tensor> first;
  std::vector<at::Tensor> second;
  std::vector<at::Tensor> steps;

 private:
  std::vector<at::Tensor> parameters_;
  AdamOptions options_;
};

}  // namespace kpop
