#include "unet_forward.h"

#include <algorithm>

namespace kpop::nn {

UNetForward::UNetForward(std::shared_ptr<UNet2DConditionModel> unet, UNetInputs inputs, Parameters parameters,
                         const std::vector<std::string>& stops)
    : unet_(std::move(unet)), inputs_(std::move(inputs)), parameters_(std::move(parameters)) {
  const auto& steps = unet_->steps();
  stops_.resize(steps.size(), false);
  for (const auto& name : stops) {
    const auto found =
        std::find_if(steps.begin(), steps.end(), [&](const Step& step) { return step.name == name; });
    check_argument(!name.empty() && found != steps.end(), "The UNet has no module \"", name, "\" to stop at");
    stops_[found - steps.begin()] = true;
  }
}

const std::string* UNetForward::advance() {
  if (position_ == stops_.size()) return nullptr;
  const Substitution substituted(*unet_, parameters_);
  if (!state_) {
    state_ = unet_->begin(inputs_);
  } else {
    leave_stop();
  }
  for (; position_ < stops_.size(); ++position_) {
    if (step().on_request && !stops_[position_]) continue;
    step().run(*state_);
    if (stops_[position_]) return &step().name;
  }
  return nullptr;
}

void UNetForward::leave_stop() {
  Tensor& output = step().output(*state_);
  if (replacement_.defined()) {
    output = replacement_.to(output.scalar_type()).contiguous(output.suggest_memory_format());
    replacement_.reset();
  } else if (step().on_request) {
    output.reset();
  }
  // The steps write into temporaries, as which they take what no graph needs; whoever was shown this keeps
  // it.
  if (output.defined() && !output.requires_grad()) output = output.clone();
  ++position_;
}

}  // namespace kpop::nn
