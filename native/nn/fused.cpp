#include "fused.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/group_norm.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "activation.h"
#include "differentiable.h"
#include "kernels/choose.h"
#include "kernels/fused.h"

namespace kpop::nn {

namespace {

using at::Tensor;
using Context = torch::autograd::AutogradContext;
namespace fused = kernels::fused;
using fused::Pixels;
using kernels::has_kernels;

/** y = (x - mean) / σ · weight + bias of a map (B, channels, h, w), channels last, in parts of some pixels;
 *  perhaps silu(y). */
class GroupNormalisation {
 public:
  GroupNormalisation(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, bool silu)
      : kernels_(kernels_for(x.size(1))),
        x_(x),
        weight_(weight),
        bias_(bias),
        silu_(silu),
        batch_(x.size(0)),
        channels_(x.size(1)),
        groups_(groups),
        pixels_(x.size(2) * x.size(3)) {}

  /** Whether there are kernels for so many channels. */
  static bool has_kernels_for(int64_t channels) { return channels % kernels_for(channels).lanes == 0; }

  /** Mean and 1 / σ of each picture's groups, (B, groups, 2) float64. */
  Tensor statistics(double eps) const {
    Sums sums(*this);
    each_part([&](int64_t picture, int64_t part, const Pixels& x) {
      kernels_.moments(x, x_data() + picture * pixels_ * channels_, sums.first(picture, part),
                       sums.second(picture, part));
    });
    const auto found = at::empty({batch_, groups_, 2}, at::kDouble);
    auto* statistics = found.mutable_data_ptr<double>();
    const auto count = static_cast<double>(pixels_);
    each_group([&](int64_t picture, int64_t first, int64_t last) {
      double mean = 0, squares = 0;
      std::vector<double> means;
      for (int64_t channel = first; channel < last; ++channel) {
        const auto [sum, square] = sums.of(picture, channel);
        means.push_back(x_data()[picture * pixels_ * channels_ + channel] + sum / count);
        mean += means.back() / static_cast<double>(last - first);
        squares += square - sum * sum / count;
      }
      for (const double own : means) squares += count * (own - mean) * (own - mean);
      *statistics++ = mean;
      *statistics++ = 1 / std::sqrt(squares / (count * static_cast<double>(last - first)) + eps);
    });
    return found;
  }

  Tensor forward(const Tensor& statistics) const {
    const auto result = at::empty_like(x_);
    const Factors factors(*this, statistics);
    auto* const to = result.mutable_data_ptr<float>();
    each_part([&](int64_t picture, int64_t, const Pixels& x) {
      kernels_.scale(x, factors.scaling(picture), to + (x.data - x_data()));
    });
    return result;
  }

  /** Of x, weight and bias. @param of_x whether that of x is asked for, which takes longer */
  std::vector<Tensor> backward(const Tensor& statistics, const Tensor& gradient, bool of_x) const {
    const auto dx = at::empty_like(x_);
    const Factors factors(*this, statistics);
    Sums sums(*this);
    auto* const to = dx.mutable_data_ptr<float>();
    each_part([&](int64_t picture, int64_t part, const Pixels& x) {
      const int64_t at = x.data - x_data();
      kernels_.scale_backward(x, factors.scaling(picture), gradient.const_data_ptr<float>() + at,
                              factors.centres(picture), to + at, sums.first(picture, part),
                              sums.second(picture, part));
    });
    std::vector<double> of_weight(channels_), of_bias(channels_);
    const auto* statistic = statistics.const_data_ptr<double>();
    const auto* const weight = weight_.const_data_ptr<float>();
    std::vector<float> steps(3 * batch_ * channels_);  // of dy, of x and of neither, by channel
    each_group([&](int64_t picture, int64_t first, int64_t last) {
      const double mean = *statistic++, rstd = *statistic++;
      const auto count = static_cast<double>(pixels_ * (last - first));
      double sum = 0, product = 0;
      for (int64_t channel = first; channel < last; ++channel) {
        const auto [own, along] = sums.of(picture, channel);
        of_bias[channel] += own;
        of_weight[channel] += along * rstd;
        sum += weight[channel] * own;
        product += weight[channel] * along;
      }
      const double of_centred = -rstd * rstd * rstd * product / count;
      for (int64_t channel = first; channel < last; ++channel) {
        float* const step = steps.data() + 3 * picture * channels_ + channel;
        step[0] = static_cast<float>(weight[channel] * rstd);
        step[channels_] = static_cast<float>(of_centred);
        step[2 * channels_] = static_cast<float>(-rstd * sum / count - of_centred * mean);
      }
    });
    if (of_x)
      each_part([&](int64_t picture, int64_t, const Pixels& x) {
        const float* const step = steps.data() + 3 * picture * channels_;
        kernels_.combine(x, step, step + channels_, step + 2 * channels_, to + (x.data - x_data()));
      });
    return {of_x ? dx : Tensor(), at::tensor(of_weight, at::kDouble).to(at::kFloat),
            at::tensor(of_bias, at::kDouble).to(at::kFloat)};
  }

 private:
  static constexpr int64_t kPart = 256;

  static const fused::Kernels& kernels_for(int64_t channels) {
    return kernels::choose<fused::Kernels>(channels % fused::Kernels::avx512.lanes == 0);
  }

  /** Two sums for each channel of each part. */
  class Sums {
   public:
    explicit Sums(const GroupNormalisation& of)
        : parts_(of.parts()), channels_(of.channels_), sums_(2 * of.batch_ * parts_ * channels_) {}
    float* first(int64_t picture, int64_t part) {
      return sums_.data() + 2 * (picture * parts_ + part) * channels_;
    }
    float* second(int64_t picture, int64_t part) { return first(picture, part) + channels_; }
    std::array<double, 2> of(int64_t picture, int64_t channel) {
      std::array<double, 2> sums{};
      for (int64_t part = 0; part < parts_; ++part) {
        sums[0] += first(picture, part)[channel];
        sums[1] += second(picture, part)[channel];
      }
      return sums;
    }

   private:
    int64_t parts_, channels_;
    std::vector<float> sums_;
  };

  /** What y is of x, by channel; and the means. */
  class Factors {
   public:
    Factors(const GroupNormalisation& of, const Tensor& statistics)
        : channels_(of.channels_), silu_(of.silu_), factors_(3 * of.batch_ * channels_) {
      const auto* statistic = statistics.const_data_ptr<double>();
      const auto *const weight = of.weight_.const_data_ptr<float>(), *const bias =
                                                                         of.bias_.const_data_ptr<float>();
      of.each_group([&](int64_t picture, int64_t first, int64_t last) {
        const double mean = *statistic++, rstd = *statistic++;
        for (int64_t channel = first; channel < last; ++channel) {
          const double scale = weight[channel] * rstd;
          float* const own = factors_.data() + 3 * picture * channels_ + channel;
          own[0] = static_cast<float>(scale);
          own[channels_] = static_cast<float>(bias[channel] - mean * scale);
          own[2 * channels_] = static_cast<float>(mean);
        }
      });
    }
    fused::Scaling scaling(int64_t picture) const {
      const float* const own = factors_.data() + 3 * picture * channels_;
      return {own, own + channels_, silu_};
    }
    const float* centres(int64_t picture) const { return factors_.data() + (3 * picture + 2) * channels_; }

   private:
    int64_t channels_;
    bool silu_;
    std::vector<float> factors_;
  };

  const float* x_data() const { return x_.const_data_ptr<float>(); }
  int64_t parts() const { return (pixels_ + kPart - 1) / kPart; }

  /** Calls `use` with a picture, a part's place in it and the part, on all threads. */
  template <class Use>
  void each_part(const Use& use) const {
    at::parallel_for(0, batch_ * parts(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t picture = task / parts(), part = task % parts(), pixel = part * kPart;
        use(picture, part,
            Pixels{x_data() + (picture * pixels_ + pixel) * channels_, std::min(kPart, pixels_ - pixel),
                   channels_});
      }
    });
  }

  /** Calls `use` with a picture and the channels of a group, one after the other. */
  template <class Use>
  void each_group(const Use& use) const {
    const int64_t size = channels_ / groups_;
    for (int64_t picture = 0; picture < batch_; ++picture)
      for (int64_t first = 0; first < channels_; first += size) use(picture, first, first + size);
  }

  const fused::Kernels& kernels_;
  const Tensor &x_, &weight_, &bias_;
  bool silu_;
  int64_t batch_, channels_, groups_, pixels_;
};

class DifferentiableGroupNorm : public torch::autograd::Function<DifferentiableGroupNorm> {
 public:
  static Tensor forward(Context* context, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        int64_t groups, double eps, bool silu) {
    const GroupNormalisation norm(x, groups, weight, bias, silu);
    const auto statistics = norm.statistics(eps);
    context->save_for_backward({x, weight, bias, statistics});
    context->saved_data["groups"] = groups;
    context->saved_data["silu"] = silu;
    return norm.forward(statistics);
  }

  static std::vector<Tensor> backward(Context* context, std::vector<Tensor> gradients) {
    const auto saved = context->get_saved_variables();
    const GroupNormalisation norm(saved[0], context->saved_data["groups"].toInt(), saved[1], saved[2],
                                  context->saved_data["silu"].toBool());
    auto found = norm.backward(saved[3], gradients[0].contiguous(at::MemoryFormat::ChannelsLast),
                               context->needs_input_grad(0));
    found.resize(6);
    return found;
  }
};

class DifferentiableGelu : public torch::autograd::Function<DifferentiableGelu> {
 public:
  static Tensor forward(Context* context, const Tensor& values, const Tensor& gates) {
    context->save_for_backward({values, gates});
    const auto result = at::empty_like(values);
    multiply(values, gates, result);
    return result;
  }

  static std::vector<Tensor> backward(Context* context, std::vector<Tensor> gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &values = saved[0], &gates = saved[1];
    const auto gradient = gradients[0].contiguous();
    const auto of_values = at::empty_like(values), of_gates = at::empty_like(gates);
    in_parallel(values.numel(), [&](int64_t begin, int64_t count) {
      kernels().multiply_by_gelu_backward(
          values.const_data_ptr<float>() + begin, gates.const_data_ptr<float>() + begin,
          gradient.const_data_ptr<float>() + begin, count, of_values.mutable_data_ptr<float>() + begin,
          of_gates.mutable_data_ptr<float>() + begin);
    });
    return {of_values, of_gates};
  }

  static void multiply(const Tensor& values, const Tensor& gates, const Tensor& result) {
    in_parallel(values.numel(), [&](int64_t begin, int64_t count) {
      kernels().multiply_by_gelu(values.const_data_ptr<float>() + begin,
                                 gates.const_data_ptr<float>() + begin, count,
                                 result.mutable_data_ptr<float>() + begin);
    });
  }

 private:
  static const fused::Kernels& kernels() { return kernels::choose<fused::Kernels>(true); }

  /** Calls `use` with where some numbers begin and how many they are, on all threads. */
  template <class Use>
  static void in_parallel(int64_t numbers, const Use& use) {
    constexpr int64_t kFewest = 512;
    const int64_t lanes = kernels().lanes;
    at::parallel_for(0, (numbers + lanes - 1) / lanes, kFewest, [&](int64_t begin, int64_t end) {
      use(begin * lanes, std::min(end * lanes, numbers) - begin * lanes);
    });
  }
};

}  // namespace

Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps,
                  bool silu) {
  const bool fits = has_kernels(x) && has_kernels(weight) && has_kernels(bias) && weight.is_contiguous() &&
                    bias.is_contiguous() && x.dim() == 4 && GroupNormalisation::has_kernels_for(x.size(1)) &&
                    x.is_contiguous(at::MemoryFormat::ChannelsLast);
  if (!fits) {
    // ATen's channels-last backward writes the input's gradient even where there is none to write to.
    const bool as_it_is = x.requires_grad() || !keeps_graph({weight, bias});
    auto normed =
        as_it_is
            ? at::group_norm(x, groups, weight, bias, eps)
            : at::group_norm(x.contiguous(), groups, weight, bias, eps).contiguous(x.suggest_memory_format());
    return silu ? activate(std::move(normed), Activation::silu) : normed;
  }
  if (keeps_graph({x, weight, bias}))
    return DifferentiableGroupNorm::apply(x, weight, bias, groups, eps, silu);
  const GroupNormalisation norm(x, groups, weight, bias, silu);
  return norm.forward(norm.statistics(eps));
}

Tensor multiply_by_gelu(Tensor values, Tensor gates) {
  const bool keeps = keeps_graph({values, gates});
  if (has_kernels(values) && has_kernels(gates) && values.is_contiguous() && gates.is_contiguous()) {
    if (keeps) return DifferentiableGelu::apply(values, gates);
    DifferentiableGelu::multiply(values, gates, values);
    return values;
  }
  const auto gate = activate(std::move(gates), Activation::gelu);
  return keeps ? values * gate : values.mul_(gate);
}

}  // namespace kpop::nn
