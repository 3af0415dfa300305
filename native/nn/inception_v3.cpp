#include "inception_v3.h"

#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include <iterator>
#include <utility>

#include "activation.h"
#include "batch_norm.h"
#include "compute_dtype.h"
#include "layers.h"

namespace kpop::nn {

/** Convolution, norm and ReLU.  (B, in, h, w) → (B, out, h', w') */
class InceptionConv : public torch::nn::Module {
 public:
  InceptionConv(int64_t in, int64_t out, Extent kernel, int64_t stride, Extent padding)
      : conv_(register_module("conv",
                              std::make_shared<Conv2d>(in, out, kernel, stride, padding, /*bias=*/false))),
        bn_(register_module("bn", std::make_shared<FrozenBatchNorm2d>(out, /*eps=*/1e-3))) {}

  Tensor forward(const Tensor& x) const {
    return activate(bn_->forward(conv_->forward(x)), Activation::relu);
  }
  Tensor in_layout(const Tensor& x) const { return conv_->in_layout(x); }

 private:
  std::shared_ptr<Conv2d> conv_;
  std::shared_ptr<FrozenBatchNorm2d> bn_;
};

namespace {

enum class Pool { none, average, maximum, halving };

/** A convolution of a branch. What has stride 1 keeps the size; stride 2 has no padding. */
struct Step {
  const char* name;
  int64_t out;
  Extent kernel = {1, 1};
  int64_t stride = 1;
};

/** Pooling, steps one after the other, and at the end those of `fork` side by side. */
struct Branch {
  Pool pool = Pool::none;
  std::vector<Step> chain = {};
  std::vector<Step> fork = {};
};

using Branches = std::vector<Branch>;

// Figures 4 to 7 of Szegedy et al. 2016, with the widths of their released network.

Branches block_a(int64_t pooled) {
  return {{.chain = {{"branch1x1", 64}}},
          {.chain = {{"branch5x5_1", 48}, {"branch5x5_2", 64, {5, 5}}}},
          {.chain = {{"branch3x3dbl_1", 64}, {"branch3x3dbl_2", 96, {3, 3}}, {"branch3x3dbl_3", 96, {3, 3}}}},
          {.pool = Pool::average, .chain = {{"branch_pool", pooled}}}};
}

Branches block_b() {
  return {
      {.chain = {{"branch3x3", 384, {3, 3}, 2}}},
      {.chain = {{"branch3x3dbl_1", 64}, {"branch3x3dbl_2", 96, {3, 3}}, {"branch3x3dbl_3", 96, {3, 3}, 2}}},
      {.pool = Pool::halving}};
}

Branches block_c(int64_t width) {
  return {{.chain = {{"branch1x1", 192}}},
          {.chain = {{"branch7x7_1", width}, {"branch7x7_2", width, {1, 7}}, {"branch7x7_3", 192, {7, 1}}}},
          {.chain = {{"branch7x7dbl_1", width},
                     {"branch7x7dbl_2", width, {7, 1}},
                     {"branch7x7dbl_3", width, {1, 7}},
                     {"branch7x7dbl_4", width, {7, 1}},
                     {"branch7x7dbl_5", 192, {1, 7}}}},
          {.pool = Pool::average, .chain = {{"branch_pool", 192}}}};
}

Branches block_d() {
  return {{.chain = {{"branch3x3_1", 192}, {"branch3x3_2", 320, {3, 3}, 2}}},
          {.chain = {{"branch7x7x3_1", 192},
                     {"branch7x7x3_2", 192, {1, 7}},
                     {"branch7x7x3_3", 192, {7, 1}},
                     {"branch7x7x3_4", 192, {3, 3}, 2}}},
          {.pool = Pool::halving}};
}

Branches block_e(Pool pool) {
  return {{.chain = {{"branch1x1", 320}}},
          {.chain = {{"branch3x3_1", 384}},
           .fork = {{"branch3x3_2a", 384, {1, 3}}, {"branch3x3_2b", 384, {3, 1}}}},
          {.chain = {{"branch3x3dbl_1", 448}, {"branch3x3dbl_2", 384, {3, 3}}},
           .fork = {{"branch3x3dbl_3a", 384, {1, 3}}, {"branch3x3dbl_3b", 384, {3, 1}}}},
          {.pool = pool, .chain = {{"branch_pool", 192}}}};
}

Tensor pooled(const Tensor& x, Pool pool) {
  switch (pool) {
    case Pool::none:
      return x;
    case Pool::average:
      return at::avg_pool2d(x, /*kernel_size=*/3, /*stride=*/1, /*padding=*/1, /*ceil_mode=*/false,
                            /*count_include_pad=*/false);
    case Pool::maximum:
      return at::max_pool2d(x, /*kernel_size=*/3, /*stride=*/1, /*padding=*/1);
    case Pool::halving:
      return at::max_pool2d(x, /*kernel_size=*/3, /*stride=*/2);
  }
  return x;
}

}  // namespace

/** Branches side by side, their channels one after the other.  (B, in, h, w) → (B, out(), h', w') */
class InceptionBlock : public torch::nn::Module {
 public:
  InceptionBlock(int64_t in, const Branches& branches) {
    for (const auto& branch : branches) {
      auto& built = branches_.emplace_back();
      built.pool = branch.pool;
      int64_t width = in;
      for (const auto& step : branch.chain) built.chain.push_back(add(std::exchange(width, step.out), step));
      for (const auto& step : branch.fork) {
        built.fork.push_back(add(width, step));
        out_ += step.out;
      }
      if (branch.fork.empty()) out_ += width;
    }
  }

  Tensor forward(const Tensor& x) const {
    std::vector<Tensor> outputs;
    for (const auto& branch : branches_) {
      auto h = pooled(x, branch.pool);
      for (const auto& step : branch.chain) h = step->forward(h);
      for (const auto& step : branch.fork) outputs.push_back(step->forward(h));
      if (branch.fork.empty()) outputs.push_back(std::move(h));
    }
    return at::cat(outputs, 1);
  }

  int64_t out() const { return out_; }

 private:
  struct Built {
    Pool pool;
    std::vector<std::shared_ptr<InceptionConv>> chain, fork;
  };

  std::shared_ptr<InceptionConv> add(int64_t in, const Step& step) {
    const Extent same{step.kernel.height / 2, step.kernel.width / 2};
    const Extent padding = step.stride == 1 ? same : Extent{0, 0};
    return register_module(step.name,
                           std::make_shared<InceptionConv>(in, step.out, step.kernel, step.stride, padding));
  }

  std::vector<Built> branches_;
  int64_t out_ = 0;
};

namespace {

constexpr int64_t kSide = 299;

struct StemStep {
  const char* name;
  int64_t in, out, kernel, stride, padding;
  bool pooled;
};
constexpr StemStep kStem[] = {{"Conv2d_1a_3x3", 3, 32, 3, 2, 0, false},
                              {"Conv2d_2a_3x3", 32, 32, 3, 1, 0, false},
                              {"Conv2d_2b_3x3", 32, 64, 3, 1, 1, true},
                              {"Conv2d_3b_1x1", 64, 80, 1, 1, 0, false},
                              {"Conv2d_4a_3x3", 80, 192, 3, 1, 0, true}};

}  // namespace

InceptionV3::InceptionV3() : Network("InceptionV3") {
  for (const auto& s : kStem) {
    auto conv = std::make_shared<InceptionConv>(s.in, s.out, Extent{s.kernel, s.kernel}, s.stride,
                                                Extent{s.padding, s.padding});
    stem_.push_back(register_module(s.name, std::move(conv)));
  }
  int64_t width = kStem[std::size(kStem) - 1].out;
  const auto add = [&](const char* name, const Branches& branches) {
    blocks_.push_back(register_module(name, std::make_shared<InceptionBlock>(width, branches)));
    width = blocks_.back()->out();
  };
  add("Mixed_5b", block_a(32));
  add("Mixed_5c", block_a(64));
  add("Mixed_5d", block_a(64));
  add("Mixed_6a", block_b());
  add("Mixed_6b", block_c(128));
  add("Mixed_6c", block_c(160));
  add("Mixed_6d", block_c(160));
  add("Mixed_6e", block_c(192));
  add("Mixed_7a", block_d());
  add("Mixed_7b", block_e(Pool::average));
  add("Mixed_7c", block_e(Pool::maximum));
  index_parameters();
}

Tensor InceptionV3::forward(const Tensor& images) const {
  check_assigned();
  check_argument(images.dim() == 4 && images.size(1) == 3 && images.is_floating_point() && images.numel() > 0,
                 "Expected images to be a floating-point tensor of shape (B, 3, H, W) but received ",
                 images.sizes(), " of ", images.scalar_type());
  // 1. to the network's size and range, without antialiasing
  auto x = images.to(compute_dtype(images));
  x = at::upsample_bilinear2d(x, {kSide, kSide}, /*align_corners=*/false).mul(2).sub(1);
  // 2. stem
  x = stem_.front()->in_layout(x);
  for (size_t i = 0; i < stem_.size(); ++i) {
    x = stem_[i]->forward(x);
    if (kStem[i].pooled) x = pooled(x, Pool::halving);
  }
  // 3. blocks, and the mean over space
  for (const auto& block : blocks_) x = block->forward(x);
  return x.mean(at::IntArrayRef{2, 3}).to(images.scalar_type());
}

}  // namespace kpop::nn
