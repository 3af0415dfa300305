#pragma once

#include <string>
#include <vector>

#include "module.h"

namespace kpop::nn {

/** Shape of a residual classifier; the defaults are torchvision's resnet18. */
struct ResNetConfig {
  int64_t depth = 18;  // 18 and 34 have basic blocks; 50, 101 and 152 bottlenecks
  int64_t num_classes = 1000;
  int64_t width = 64;             // channels of the stem; the four stages have 1, 2, 4 and 8 times as many
  std::string stem = "imagenet";  // 7×7 with stride 2, then max pooling; "small": 3×3 with stride 1
};

class ResNetStage;
class BatchNorm2d;
class Conv2d;
class Linear;

/** A residual network that classifies images (He et al. 2016, arXiv 1512.03385), with torchvision's parameter
 *  names; in bottlenecks the 3×3 convolution has the stride, as there. */
class ResNet : public Network {
 public:
  /** @throws ArgumentError for a depth or stem that does not exist */
  explicit ResNet(const ResNetConfig& config = {});

  /** @param images (B, 3, H, W); their dtype is the compute dtype
   *  @param train normalise by the batch's own statistics, and move the running ones towards them
   *  @returns logits (B, num_classes)
   *  @throws ArgumentError when a shape does not fit, a parameter has no data, or a batch to train on has one
   *    value for a channel */
  Tensor forward(const Tensor& images, bool train = false) const;

  const ResNetConfig& config() const { return config_; }

 private:
  ResNetConfig config_;
  std::shared_ptr<Conv2d> conv1_;
  std::shared_ptr<BatchNorm2d> bn1_;
  std::vector<std::shared_ptr<ResNetStage>> stages_;
  std::shared_ptr<Linear> fc_;
};

}  // namespace kpop::nn
