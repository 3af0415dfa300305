#pragma once

#include <memory>
#include <string>
#include <vector>

#include "module.h"

namespace kpop::nn {

/** Which trunk looks at the pictures. */
struct LpipsConfig {
  std::string net = "alex";  // or "vgg"
};

class LpipsScaling;
class LpipsTrunk;
class Conv2d;

/** The learned distance of pictures of Zhang et al. 2018 (LPIPS, arXiv 1801.03924), version 0.1, with the
 * parameter names of its authors' package. */
class Lpips : public Network {
 public:
  /** @throws ArgumentError for a trunk that does not exist */
  explicit Lpips(const LpipsConfig& config = {});
  ~Lpips() override;

  /** @param first, second (B, 3, H, W) in [-1, 1], of one shape and dtype, which is the compute dtype
   *  @returns distances (B)
   *  @throws ArgumentError when a shape does not fit, or a parameter has no data */
  Tensor forward(const Tensor& first, const Tensor& second) const;

 private:
  int64_t least_side_;
  std::shared_ptr<LpipsScaling> scaling_layer_;
  std::shared_ptr<LpipsTrunk> net_;
  std::vector<std::shared_ptr<Conv2d>> heads_;
};

}  // namespace kpop::nn
