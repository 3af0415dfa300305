#include "winograd.h"

#include <ATen/Parallel.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <vector>

#include "differentiable.h"
#include "kernels/choose.h"
#include "kernels/winograd.h"

namespace kpop::nn {

namespace {

using at::Tensor;
namespace winograd = kernels::winograd;
using winograd::Grid;
using winograd::Range;
using winograd::Transforms;

Tensor channels_last(const Tensor& value) {
  return value.contiguous(at::MemoryFormat::ChannelsLast);
}

Tensor empty_like_channels_last(at::IntArrayRef shape, const Tensor& like) {
  return at::empty(shape, like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

/** A range in parts of at most `most`, but at least `step`, which divides all but the last. */
std::vector<Range> parts_of(int64_t count, int64_t most, int64_t step) {
  const int64_t part = std::max(most / step * step, step);
  std::vector<Range> result;
  for (int64_t begin = 0; begin < count; begin += part)
    result.push_back({begin, std::min(begin + part, count)});
  return result;
}

/** Calls `transform` with parts of a range, on all threads. */
template <class Transform>
void in_parallel(Range range, const Transform& transform) {
  constexpr int64_t kFewest = 4;
  at::parallel_for(range.begin, range.end, kFewest,
                   [&](int64_t begin, int64_t end) { transform(Range{begin, end}); });
}

/** Memory for one matrix after another: fresh pages for each would cost as much as what fills them. */
class Memory {
 public:
  /** (places, rows, columns) float32, in place of the one before. */
  Tensor shaped(int64_t places, int64_t rows, int64_t columns) {
    const int64_t size = places * rows * columns;
    if (!floats_.defined() || floats_.numel() < size) floats_ = at::empty({size}, at::kFloat);
    return floats_.narrow(0, 0, size).view({places, rows, columns});
  }

 private:
  Tensor floats_;
};

/** What moving a number costs, in products, and a weight that no cache holds: measured on a core of a Zen 3,
 *  and of a Xeon with AVX-512. */
struct Moving {
  double number, far_weight;
};
Moving moving() {
  return kernels::instructions() == kernels::Instructions::avx512 ? Moving{20, 100} : Moving{35, 35};
}

/** A convolution of one shape, and its gradients. What the tiles, the weights and the products become is
 *  kept in parts of 32 MB, not whole. */
class Convolution {
 public:
  /** @param shape (B, in, h, w) of the input */
  Convolution(const Transforms& transforms, at::IntArrayRef shape, int64_t outputs)
      : transforms_(transforms),
        batch_(shape[0]),
        inputs_(shape[1]),
        height_(shape[2]),
        width_(shape[3]),
        outputs_(outputs) {
    constexpr int64_t kStep = 16;
    const Grid grid = grid_of(inputs_);
    tiles_ = parts_of(batch_ * grid.rows * grid.columns, kFloats / (places() * std::max(inputs_, outputs_)),
                      kStep);
  }

  /** Products that it takes, with what moving numbers costs. */
  double cost() const {
    constexpr double kCached = 1 << 16;
    const auto [number, far_weight] = moving();
    const auto tiles = static_cast<double>(tiles_.back().end), inputs = static_cast<double>(inputs_),
               outputs = static_cast<double>(outputs_), weights = inputs * outputs;
    const double moved =
        number * tiles * (inputs + outputs) + (weights > kCached ? far_weight : number) * weights;
    return static_cast<double>(places()) * (tiles * weights + moved);
  }

  /** (B, in, h, w) → (B, out, h, w). All are channels last. */
  Tensor forward(const Tensor& x, const Tensor& weight, const Tensor& bias) {
    const auto result = empty_like_channels_last({batch_, outputs_, height_, width_}, x);
    for (const Range outputs : channels(outputs_, inputs_)) {
      const auto factors = spread_weights(weight, outputs, {0, inputs_}, false).transpose(1, 2);
      convolve(x, factors, outputs, bias.defined() ? bias.const_data_ptr<float>() : nullptr, result);
    }
    return result;
  }

  /** The gradient of the input, from that of the result, (B, out, h, w). */
  Tensor input_gradient(const Tensor& gradient, const Tensor& weight) {
    const auto result = empty_like_channels_last({batch_, inputs_, height_, width_}, gradient);
    for (const Range inputs : channels(inputs_, outputs_))
      convolve(gradient, spread_weights(weight, {0, outputs_}, inputs, true), inputs, nullptr, result);
    return result;
  }

  /** The gradient of the weight, from that of the result. */
  Tensor weight_gradient(const Tensor& x, const Tensor& gradient) {
    const auto result = empty_like_channels_last({outputs_, inputs_, 3, 3}, x);
    for (const Range outputs : channels(outputs_, inputs_)) {
      auto sum = factors_.shaped(places(), outputs.size(), inputs_);
      for (const Range tiles : tiles_) {
        const auto values = spread_input(x, tiles, outputs.begin > 0);
        const auto gradients =
            spread(transforms_.spread_output, gradient, tiles, outputs, products_).transpose(1, 2);
        if (tiles.begin == 0)
          at::bmm_out(sum, gradients, values);
        else
          sum.baddbmm_(gradients, values);
      }
      in_parallel(outputs, [&](Range some) {
        transforms_.gather_weights(sum.const_data_ptr<float>(), inputs_, {outputs, some, {0, inputs_}},
                                   result.mutable_data_ptr<float>());
      });
    }
    return result;
  }

 private:
  static constexpr int64_t kFloats = int64_t{1} << 23;

  int64_t places() const { return transforms_.places; }

  Grid grid_of(int64_t channels) const {
    return {height_, width_, channels, (height_ + transforms_.output - 1) / transforms_.output,
            (width_ + transforms_.output - 1) / transforms_.output};
  }

  /** Parts of the channels whose weights, each with so many others, are transformed together. */
  std::vector<Range> channels(int64_t count, int64_t others) const {
    constexpr int64_t kStep = 32;
    return parts_of(count, kFloats / (places() * others), kStep);
  }

  /** → (places, outputs, inputs) */
  Tensor spread_weights(const Tensor& weight, Range outputs, Range inputs, bool turned) {
    const auto factors = factors_.shaped(places(), outputs.size(), inputs.size());
    in_parallel(outputs, [&](Range some) {
      transforms_.spread_weights(weight.const_data_ptr<float>(), inputs_, {outputs, some, inputs}, turned,
                                 factors.mutable_data_ptr<float>());
    });
    return factors;
  }

  /** → (places, tiles, channels) */
  Tensor spread(decltype(Transforms::spread_input) transform, const Tensor& pictures, Range tiles,
                Range channels, Memory& memory) {
    const auto result = memory.shaped(places(), tiles.size(), channels.size());
    const Grid grid = grid_of(pictures.size(1));
    in_parallel(tiles, [&](Range some) {
      transform(pictures.const_data_ptr<float>(), grid, {tiles, some, channels},
                result.mutable_data_ptr<float>());
    });
    return result;
  }

  /** All channels of pictures. @param again whether the memory holds them, if all tiles are one part */
  Tensor spread_input(const Tensor& pictures, Range tiles, bool again) {
    const int64_t channels = pictures.size(1);
    if (again && tiles_.size() == 1) return values_.shaped(places(), tiles.size(), channels);
    return spread(transforms_.spread_input, pictures, tiles, {0, channels}, values_);
  }

  /** Some channels of the result. @param factors (places, all channels of x, those of the result) */
  void convolve(const Tensor& x, const Tensor& factors, Range channels, const float* bias,
                const Tensor& result) {
    const Grid grid = grid_of(result.size(1));
    for (const Range tiles : tiles_) {
      const auto values = spread_input(x, tiles, channels.begin > 0);
      auto products = products_.shaped(places(), tiles.size(), channels.size());
      at::bmm_out(products, values, factors);
      in_parallel(tiles, [&](Range some) {
        transforms_.gather_output(products.const_data_ptr<float>(), bias, grid, {tiles, some, channels},
                                  result.mutable_data_ptr<float>());
      });
    }
  }

  const Transforms& transforms_;
  int64_t batch_, inputs_, height_, width_, outputs_;
  std::vector<Range> tiles_;
  Memory values_, factors_, products_;
};

/** Those with the longer vectors where they fit. */
const winograd::Kernels& kernels_for(int64_t inputs, int64_t outputs) {
  const int64_t lanes = winograd::Kernels::avx512.lanes;
  return kernels::choose<winograd::Kernels>(inputs % lanes == 0 && outputs % lanes == 0);
}

/** Calls `use` with the convolution of a shape whose tiles take less time; large ones for long sums alone: of
 *  short ones their error is several times ATen's, of these at most twice. */
template <class Use>
auto with_tiles(at::IntArrayRef shape, int64_t outputs, const Use& use) {
  constexpr int64_t kLongSum = 256;
  const auto& kernels = kernels_for(shape[1], outputs);
  Convolution large(kernels.large, shape, outputs), small(kernels.small, shape, outputs);
  const bool is_long = std::min(shape[1], outputs) >= kLongSum;
  return is_long && large.cost() < small.cost() ? use(large) : use(small);
}

class Differentiable : public torch::autograd::Function<Differentiable> {
 public:
  static Tensor forward(Factors::Context* context, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias) {
    Factors::save(*context, x, weight, bias);
    return winograd_conv2d(x, weight, bias.value_or(Tensor()));
  }

  static std::vector<Tensor> backward(Factors::Context* context, std::vector<Tensor> gradients) {
    const Factors factors(*context);
    const auto gradient = channels_last(gradients[0]);
    auto shape = gradient.sizes().vec();
    shape[1] = factors.x.defined()        ? factors.x.size(1)
               : factors.weight.defined() ? factors.weight.size(1)
                                          : 0;
    Tensor of_bias;
    if (factors.of_bias) of_bias = gradient.sum({0, 2, 3});
    if (shape[1] == 0) return {Tensor(), Tensor(), of_bias};
    return with_tiles(shape, gradient.size(1), [&](Convolution& convolution) -> std::vector<Tensor> {
      Tensor of_x, of_weight;
      if (factors.of_x) of_x = convolution.input_gradient(gradient, channels_last(factors.weight));
      if (factors.of_weight) of_weight = convolution.weight_gradient(channels_last(factors.x), gradient);
      return {of_x, of_weight, of_bias};
    });
  }
};

}  // namespace

bool winograd_pays(const Tensor& x, const Tensor& weight) {
  if (!kernels::has_kernels(x) || !kernels::has_kernels(weight) ||
      !weight.is_contiguous(at::MemoryFormat::ChannelsLast))
    return false;
  const int64_t lanes = kernels_for(x.size(1), weight.size(0)).lanes;
  if (x.size(1) % lanes != 0 || weight.size(0) % lanes != 0) return false;
  // ATen's products take less time, those of matrices more; its weights cost as much as some more pixels.
  constexpr double kProduct = 0.75, kMorePixels = 60;
  const double pixels = static_cast<double>(x.size(0) * x.size(2) * x.size(3)) + kMorePixels;
  const double direct = kProduct * pixels * static_cast<double>(weight.numel());
  return with_tiles(x.sizes(), weight.size(0),
                    [&](const Convolution& convolution) { return convolution.cost() < direct; });
}

Tensor winograd_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (keeps_graph({x, weight, bias})) return apply<Differentiable>(x, weight, bias);
  return with_tiles(x.sizes(), weight.size(0), [&](Convolution& convolution) {
    return convolution.forward(channels_last(x), channels_last(weight), bias);
  });
}

}  // namespace kpop::nn
