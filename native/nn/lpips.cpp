#include "lpips.h"

#include <ATen/ops/max_pool2d.h>

#include <algorithm>
#include <span>

#include "activation.h"
#include "compute_dtype.h"
#include "layers.h"

namespace kpop::nn {
namespace {

/** A convolution of a trunk with its ReLU, a max pool in front of it where `pooled`. */
struct TrunkStep {
  int64_t slice;
  const char* index;  // in torchvision's `features`
  int64_t out, kernel, stride, padding;
  bool pooled = false;
};

/** The convolutions of a classifier up to its last, in five slices; what each slice gives is compared. */
struct Trunk {
  const char* name;
  std::span<const TrunkStep> steps;
  int64_t pool;        // side of the pools' windows
  int64_t least_side;  // of pictures of which pools leave something
};

constexpr TrunkStep kAlex[] = {{1, "0", 64, 11, 4, 2},
                               {2, "3", 192, 5, 1, 2, true},
                               {3, "6", 384, 3, 1, 1, true},
                               {4, "8", 256, 3, 1, 1},
                               {5, "10", 256, 3, 1, 1}};
constexpr TrunkStep kVgg[] = {
    {1, "0", 64, 3, 1, 1},   {1, "2", 64, 3, 1, 1},         {2, "5", 128, 3, 1, 1, true},
    {2, "7", 128, 3, 1, 1},  {3, "10", 256, 3, 1, 1, true}, {3, "12", 256, 3, 1, 1},
    {3, "14", 256, 3, 1, 1}, {4, "17", 512, 3, 1, 1, true}, {4, "19", 512, 3, 1, 1},
    {4, "21", 512, 3, 1, 1}, {5, "24", 512, 3, 1, 1, true}, {5, "26", 512, 3, 1, 1},
    {5, "28", 512, 3, 1, 1}};
constexpr Trunk kTrunks[] = {{"alex", kAlex, 3, 31}, {"vgg", kVgg, 2, 16}};

const Trunk& trunk_of(const std::string& name) {
  for (const auto& trunk : kTrunks) {
    if (name == trunk.name) return trunk;
  }
  throw ArgumentError(c10::str("Expected net to be alex or vgg but received \"", name, "\""));
}

/** Unit vectors along the channels. */
Tensor normalised(const Tensor& features) {
  return features / (features.square().sum(1, /*keepdim=*/true).sqrt() + 1e-10);
}

}  // namespace

/** From [-1, 1] to the colours of ImageNet. */
class LpipsScaling : public Leaf {
 public:
  LpipsScaling() {
    for (const char* name : {"shift", "scale"}) declare(name, {1, 3, 1, 1});
  }
  Tensor forward(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    return (x - cast(0, dtype)) / cast(1, dtype);
  }
};

class LpipsTrunk : public torch::nn::Module {
 public:
  explicit LpipsTrunk(const Trunk& trunk) : trunk_(trunk) {
    int64_t in = 3;
    for (const auto& step : trunk.steps) {
      if (step.slice > static_cast<int64_t>(slices_.size())) {
        auto slice = std::make_shared<torch::nn::Module>();
        slices_.push_back(register_module("slice" + std::to_string(step.slice), std::move(slice)));
        widths_.emplace_back();
      }
      auto conv = std::make_shared<Conv2d>(in, step.out, step.kernel, step.stride, step.padding);
      convs_.push_back(slices_.back()->register_module(step.index, std::move(conv)));
      in = widths_.back() = step.out;
    }
  }

  /** What slice `number`, from 1 on, makes of what the one before it gave. */
  Tensor slice(int64_t number, Tensor x) const {
    for (size_t i = 0; i < convs_.size(); ++i) {
      const auto& step = trunk_.steps[i];
      if (step.slice != number) continue;
      if (step.pooled) x = at::max_pool2d(x, trunk_.pool, /*stride=*/2);
      x = activate(convs_[i]->forward(x), Activation::relu);
    }
    return x;
  }

  Tensor in_layout(const Tensor& x) const { return convs_.front()->in_layout(x); }

  /** Channels that each slice gives. */
  const std::vector<int64_t>& widths() const { return widths_; }

 private:
  const Trunk& trunk_;
  std::vector<std::shared_ptr<torch::nn::Module>> slices_;
  std::vector<std::shared_ptr<Conv2d>> convs_;
  std::vector<int64_t> widths_;
};

Lpips::Lpips(const LpipsConfig& config) : Network("LPIPS") {
  const auto& trunk = trunk_of(config.net);
  least_side_ = trunk.least_side;
  scaling_layer_ = register_module("scaling_layer", std::make_shared<LpipsScaling>());
  net_ = register_module("net", std::make_shared<LpipsTrunk>(trunk));
  for (const auto width : net_->widths()) {
    const auto name = "lin" + std::to_string(heads_.size());
    auto model = register_module(name, std::make_shared<torch::nn::Module>())
                     ->register_module("model", std::make_shared<torch::nn::Module>());
    // Behind a dropout, which is "0".
    auto head = std::make_shared<Conv2d>(width, 1, 1, 1, 0, /*bias=*/false);
    heads_.push_back(model->register_module("1", std::move(head)));
  }
  index_parameters();
}

Lpips::~Lpips() = default;

Tensor Lpips::forward(const Tensor& first, const Tensor& second) const {
  check_assigned();
  for (const auto& images : {first, second}) {
    check_argument(
        images.dim() == 4 && images.size(1) == 3 && images.is_floating_point() && images.numel() > 0,
        "Expected images to be a floating-point tensor of shape (B, 3, H, W) but received ", images.sizes(),
        " of ", images.scalar_type());
  }
  check_argument(first.sizes() == second.sizes() && first.scalar_type() == second.scalar_type(),
                 "Expected pictures of one shape and dtype but received ", first.sizes(), " of ",
                 first.scalar_type(), " and ", second.sizes(), " of ", second.scalar_type());
  check_argument(std::min(first.size(2), first.size(3)) >= least_side_, "Expected pictures of at least ",
                 least_side_, " × ", least_side_,
                 " pixels, of which the network's pools leave something, but received ", first.size(3), " × ",
                 first.size(2));
  const auto prepared = [&](const Tensor& images) {
    return net_->in_layout(scaling_layer_->forward(images.to(compute_dtype(images))));
  };
  auto a = prepared(first), b = prepared(second);
  Tensor distance;  // (B, 1, 1, 1)
  for (size_t i = 0; i < heads_.size(); ++i) {
    a = net_->slice(static_cast<int64_t>(i) + 1, std::move(a));
    b = net_->slice(static_cast<int64_t>(i) + 1, std::move(b));
    const auto own = heads_[i]->forward((normalised(a) - normalised(b)).square());
    const auto mean = own.mean(at::IntArrayRef{2, 3}, /*keepdim=*/true);
    distance = distance.defined() ? distance + mean : mean;
  }
  return distance.flatten().to(first.scalar_type());
}

}  // namespace kpop::nn
