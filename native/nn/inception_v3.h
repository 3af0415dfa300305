#pragma once

#include <memory>
#include <vector>

#include "module.h"

namespace kpop::nn {

class InceptionConv;
class InceptionBlock;

/** The Inception network that FID is defined on (Szegedy et al. 2016, arXiv 1512.00567; Heusel et al. 2017,
 *  arXiv 1706.08500), with torchvision's parameter names, up to its last pooling. As in the original's
 * weights, average pools leave the padding out, and the last block pools by the maximum. */
class InceptionV3 : public Network {
 public:
  InceptionV3();

  /** @param images (B, 3, H, W) in [0, 1]; their dtype is the compute dtype
   *  @returns features (B, 2048)
   *  @throws ArgumentError when the shape does not fit, or a parameter has no data */
  Tensor forward(const Tensor& images) const;

 private:
  std::vector<std::shared_ptr<InceptionConv>> stem_;
  std::vector<std::shared_ptr<InceptionBlock>> blocks_;
};

}  // namespace kpop::nn
