#pragma once

#include <memory>
#include <string>
#include <vector>

#include "unet_2d_condition_model.h"

namespace kpop::nn {

/** A forward of the UNet that stops at some modules, so that their outputs can be read and replaced, and that
 *  may have other tensors in the place of the network's parameters. */
class UNetForward {
 public:
  /** @param stops names of steps   @throws ArgumentError when there is no such step */
  UNetForward(std::shared_ptr<UNet2DConditionModel> unet, UNetInputs inputs, Parameters parameters,
              const std::vector<std::string>& stops);

  /** Runs on, to the next stop in the order of the forward or to the end.
   *  @returns the name of the step it stopped at; null at the end
   *  @throws ArgumentError as UNet2DConditionModel::forward does */
  const std::string* advance();

  /** At a stop, before the next advance(): the module's output. What follows does not write to it. */
  const Tensor& output() const { return step().output(const_cast<UNetState&>(*state_)); }

  /** At a stop: what the forward goes on with in place of the module's output, in that shape. */
  void replace(Tensor replacement) { replacement_ = std::move(replacement); }

  /** At the end: (B, out_channels, h, w) in the sample's dtype. */
  Tensor result() const { return UNet2DConditionModel::end(*state_, inputs_); }

 private:
  const Step& step() const { return unet_->steps()[position_]; }
  void leave_stop();

  std::shared_ptr<UNet2DConditionModel> unet_;
  UNetInputs inputs_;
  Parameters parameters_;
  std::vector<bool> stops_;  // for each step
  std::optional<UNetState> state_;
  Tensor replacement_;
  size_t position_ = 0;
};

}  // namespace kpop::nn
