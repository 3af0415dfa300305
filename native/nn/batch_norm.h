#pragma once

#include <ATen/OpMathType.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>

#include "module.h"

namespace kpop::nn {

/** Normalises each channel by its running statistics (Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 2).
 *  weight, bias, running_mean, running_var (channels).  (B, channels, h, w) → same */
class FrozenBatchNorm2d : public Leaf {
 public:
  explicit FrozenBatchNorm2d(int64_t channels, double eps = 1e-5) : eps_(eps) {
    for (const char* name : {"weight", "bias", "running_mean", "running_var"}) declare(name, {channels});
  }

  Tensor forward(const Tensor& x) const { return normalise(x, /*train=*/false); }

 protected:
  static constexpr double kMomentum = 0.1;

  Tensor normalise(const Tensor& x, bool train) const {
    // Statistics and scales of the half-width types are in float32, as ATen computes with them.
    const auto dtype = at::toOpMathType(x.scalar_type());
    return at::batch_norm(x, cast(0, dtype), cast(1, dtype), cast(2, dtype), cast(3, dtype), train, kMomentum,
                          eps_, /*cudnn_enabled=*/true);
  }

 private:
  double eps_;
};

/** One that may be trained: it normalises by the batch's own statistics then (algorithm 1).
 *  num_batches_tracked () int64 beside.  (B, channels, h, w) → same */
class BatchNorm2d : public FrozenBatchNorm2d {
 public:
  explicit BatchNorm2d(int64_t channels) : FrozenBatchNorm2d(channels) {
    declare("num_batches_tracked", {}, at::kLong);
  }

  Tensor forward(const Tensor& x, bool train) {
    if (train) count_batch(x, at::toOpMathType(x.scalar_type()));
    return normalise(x, train);
  }

 private:
  void count_batch(const Tensor& x, at::ScalarType dtype) {
    check_argument(x.numel() > x.size(1),
                   "Expected more than one value per channel in training but received ", x.sizes());
    // A cast would update a copy.
    check_argument(slot(2).scalar_type() == dtype && slot(3).scalar_type() == dtype,
                   "Expected running_mean and running_var to be ", dtype, " in training but they are ",
                   slot(2).scalar_type(), " and ", slot(3).scalar_type());
    at::NoGradGuard no_grad;
    slot(4).add_(1);
  }
};

}  // namespace kpop::nn
