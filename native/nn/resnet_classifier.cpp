#include "resnet_classifier.h"

#include <ATen/ops/max_pool2d.h>

#include <array>

#include "activation.h"
#include "batch_norm.h"
#include "compute_dtype.h"
#include "layers.h"

namespace kpop::nn {

namespace {

struct BlockShape {
  int64_t in, width, out, stride;
};

std::shared_ptr<Conv2d> convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1) {
  return std::make_shared<Conv2d>(in, out, kernel, stride, kernel / 2, /*bias=*/false);
}

/** Convolutions and norms in turn, around a (projected) shortcut.
 *  (B, in, h, w) → (B, out, h / stride, w / stride) */
class ResNetBlock : public torch::nn::Module {
 public:
  ResNetBlock(const BlockShape& s, bool bottleneck) {
    if (bottleneck) {
      add(s.in, s.width, 1, 1);
      add(s.width, s.width, 3, s.stride);
      add(s.width, s.out, 1, 1);
    } else {
      add(s.in, s.width, 3, s.stride);
      add(s.width, s.out, 3, 1);
    }
    if (s.stride == 1 && s.in == s.out) return;
    auto downsample = register_module("downsample", std::make_shared<torch::nn::Module>());
    shortcut_ = downsample->register_module("0", convolution(s.in, s.out, 1, s.stride));
    shortcut_norm_ = downsample->register_module("1", std::make_shared<BatchNorm2d>(s.out));
  }

  Tensor forward(const Tensor& x, bool train) const {
    auto h = x;
    for (size_t i = 0; i < layers_.size(); ++i) {
      h = layers_[i].norm->forward(layers_[i].convolution->forward(h), train);
      if (i + 1 < layers_.size()) h = activate(std::move(h), Activation::relu);
    }
    h = add_residual(std::move(h), shortcut_ ? shortcut_norm_->forward(shortcut_->forward(x), train) : x);
    return activate(std::move(h), Activation::relu);
  }

 private:
  struct Layer {
    std::shared_ptr<Conv2d> convolution;
    std::shared_ptr<BatchNorm2d> norm;
  };

  void add(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
    const auto number = std::to_string(layers_.size() + 1);
    auto conv = register_module("conv" + number, convolution(in, out, kernel, stride));
    auto norm = register_module("bn" + number, std::make_shared<BatchNorm2d>(out));
    layers_.push_back({std::move(conv), std::move(norm)});
  }

  std::vector<Layer> layers_;
  std::shared_ptr<Conv2d> shortcut_;
  std::shared_ptr<BatchNorm2d> shortcut_norm_;
};

struct Plan {
  int64_t depth;
  bool bottleneck;
  std::array<int64_t, 4> blocks;
};

/** Table 1 of He et al. 2016. */
constexpr Plan kPlans[] = {{18, false, {2, 2, 2, 2}},
                           {34, false, {3, 4, 6, 3}},
                           {50, true, {3, 4, 6, 3}},
                           {101, true, {3, 4, 23, 3}},
                           {152, true, {3, 8, 36, 3}}};

const Plan& plan_of(int64_t depth) {
  for (const auto& plan : kPlans) {
    if (plan.depth == depth) return plan;
  }
  throw ArgumentError(c10::str("Expected depth to be 18, 34, 50, 101 or 152 but received ", depth));
}

}  // namespace

/** Blocks of one width; the first one has the stride. */
class ResNetStage : public List<ResNetBlock> {
 public:
  Tensor forward(Tensor x, bool train) const {
    for (size_t i = 0; i < size(); ++i) x = (*this)[i].forward(x, train);
    return x;
  }
};

ResNet::ResNet(const ResNetConfig& config) : Network("ResNet"), config_(config) {
  const auto& c = config_;
  const auto& plan = plan_of(c.depth);
  check_argument(c.num_classes > 0 && c.width > 0,
                 "Expected num_classes and width to be positive but received ", c.num_classes, " and ",
                 c.width);
  const bool imagenet = c.stem == "imagenet";
  check_argument(imagenet || c.stem == "small", "Expected stem to be imagenet or small but received \"",
                 c.stem, "\"");
  conv1_ = register_module("conv1", imagenet ? convolution(3, c.width, 7, 2) : convolution(3, c.width, 3));
  bn1_ = register_module("bn1", std::make_shared<BatchNorm2d>(c.width));
  int64_t in = c.width;
  for (size_t stage = 0; stage < plan.blocks.size(); ++stage) {
    const int64_t width = c.width << stage, out = plan.bottleneck ? 4 * width : width;
    auto blocks = std::make_shared<ResNetStage>();
    for (int64_t block = 0; block < plan.blocks[stage]; ++block) {
      const int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      blocks->emplace_back(BlockShape{in, width, out, stride}, plan.bottleneck);
      in = out;
    }
    stages_.push_back(register_module("layer" + std::to_string(stage + 1), std::move(blocks)));
  }
  fc_ = register_module("fc", std::make_shared<Linear>(in, c.num_classes));
  index_parameters();
}

Tensor ResNet::forward(const Tensor& images, bool train) const {
  check_assigned();
  check_argument(images.dim() == 4 && images.size(1) == 3 && images.is_floating_point() && images.numel() > 0,
                 "Expected images to be a floating-point tensor of shape (B, 3, H, W) but received ",
                 images.sizes(), " of ", images.scalar_type());
  auto x = conv1_->forward(conv1_->in_layout(images.to(compute_dtype(images))));
  x = activate(bn1_->forward(x, train), Activation::relu);
  if (config_.stem == "imagenet") x = at::max_pool2d(x, /*kernel_size=*/3, /*stride=*/2, /*padding=*/1);
  for (const auto& stage : stages_) x = stage->forward(std::move(x), train);
  return fc_->forward(x.mean(at::IntArrayRef{2, 3})).to(images.scalar_type());
}

}  // namespace kpop::nn
