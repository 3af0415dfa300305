#include "module.h"

#include <ATen/ops/empty.h>

namespace kpop::nn {
namespace {

Tensor without_data(at::IntArrayRef shape, at::ScalarType dtype) {
  return at::empty(shape, at::TensorOptions().device(at::kMeta).dtype(dtype));
}

}  // namespace

void Leaf::declare(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) {
  register_parameter(name, without_data(shape, dtype), /*requires_grad=*/false);
}

void Network::declare(const std::string& name, at::IntArrayRef shape) {
  register_parameter(name, without_data(shape, at::kFloat), /*requires_grad=*/false);
}

void Network::index_parameters() {
  const auto index = [this](const std::string& key, Tensor& parameter, const Leaf* owner) {
    names_.push_back(key);
    shapes_.push_back(parameter.sizes().vec());
    slots_.emplace(key, Slot{&parameter, owner});
  };
  for (auto& own : parameters_) index(own.key(), own.value(), nullptr);
  for (const auto& entry : named_modules(/*name_prefix=*/"", /*include_self=*/false)) {
    auto* leaf = dynamic_cast<Leaf*>(entry.value().get());
    if (leaf == nullptr) continue;
    const auto parameters = leaf->named_parameters(/*recurse=*/false);
    for (size_t i = 0; i < parameters.size(); ++i)
      index(entry.key() + "." + parameters[i].key(), leaf->slot(i), leaf);
  }
  unassigned_ = names_.size();
}

const Network::Slot& Network::find(const std::string& key) const {
  const auto found = slots_.find(key);
  check_argument(found != slots_.end(), "Expected a parameter name of ", name(), " but received \"", key,
                 "\"; its ", names_.size(), " names start with \"", names_.front(), "\"");
  return found->second;
}

void Network::check_parameter(const std::string& key, const Tensor& value) const {
  const Tensor& slot = parameter(key);
  check_argument(value.defined(), "Expected a tensor for parameter ", key, " but received none");
  const bool counts = slot.scalar_type() == at::kLong;
  check_argument(counts ? value.scalar_type() == at::kLong : value.is_floating_point(), "Expected parameter ",
                 key, " to be ", counts ? "an int64" : "a floating-point", " tensor but received ",
                 value.scalar_type());
  check_argument(value.sizes() == slot.sizes(), "Expected parameter ", key, " to have shape ", slot.sizes(),
                 " but received ", value.sizes());
}

void Network::exchange(Tensor& slot, Tensor& value) noexcept {
  unassigned_ -= slot.is_meta();
  unassigned_ += value.is_meta();
  std::swap(slot, value);
}

void Network::assign_parameter(const std::string& key, Tensor value) {
  check_parameter(key, value);
  exchange(*find(key).parameter, value);
}

Substitution::Substitution(Network& network, const Parameters& parameters) : network_(network) {
  originals_.reserve(parameters.size());
  for (const auto& [key, value] : parameters) {
    network.check_parameter(key, value);
    originals_.emplace_back(network.find(key).parameter, value);
  }
  // Else a layer would take what stands there at its first use for the weight that is still to be laid out.
  for (const auto& [key, value] : parameters)
    if (const Leaf* owner = network.find(key).owner) owner->lay_out();
  for (auto& [slot, value] : originals_) network_.exchange(*slot, value);
}

Substitution::~Substitution() {
  // From the end, so that a key given twice gets its first original back.
  for (auto entry = originals_.rbegin(); entry != originals_.rend(); ++entry)
    network_.exchange(*entry->first, entry->second);
}

void Network::use_fastest_layout(bool on_use) {
  for (const auto& module : modules(/*include_self=*/false)) {
    if (auto* leaf = dynamic_cast<Leaf*>(module.get())) leaf->use_fastest_layout(on_use);
  }
}

void Network::check_assigned() const {
  if (unassigned_ == 0) [[likely]]
    return;
  for (const auto& key : names_) {
    check_argument(!parameter(key).is_meta(), "Expected every parameter of ", name(),
                   " to have data before forward, but ", unassigned_, " of ", names_.size(),
                   " have none; the first is ", key);
  }
}

}  // namespace kpop::nn
