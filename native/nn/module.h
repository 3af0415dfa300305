#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "argument_error.h"

namespace kpop::nn {

using at::Tensor;

/** Base of the layers that own parameters. They are declared without data, on the meta device, so that
 *  building a network costs neither memory nor initialisation. */
class Leaf : public torch::nn::Module {
 public:
  /** The live entry of parameter `index` (order of declaration); its address is stable. */
  Tensor& slot(size_t index) { return parameters_[index].value(); }
  size_t slot_count() const { return parameters_.size(); }

  /** See Network::use_fastest_layout. */
  virtual void use_fastest_layout(bool /*on_use*/) {}

  /** Lays out what has been put off to the first use. The tensor stays the same one, with its gradient. */
  virtual void lay_out() const {}

 protected:
  void declare(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype = at::kFloat);

  /** Parameter `index` in the dtype of the computation; differentiable where a cast is needed. */
  Tensor cast(size_t index, at::ScalarType dtype) const {
    const Tensor& value = parameters_[index].value();
    return value.scalar_type() == dtype ? value : value.to(dtype);
  }
};

/** A sequence of modules of one type, registered as "0", "1", ... like PyTorch's ModuleList. */
template <class T>
class List : public torch::nn::Module {
 public:
  template <class... Args>
  T& emplace_back(Args&&... args) {
    auto item = std::make_shared<T>(std::forward<Args>(args)...);
    items_.push_back(register_module(std::to_string(items_.size()), std::move(item)));
    return *items_.back();
  }
  T& operator[](size_t index) const { return *items_[index]; }
  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }

 private:
  std::vector<std::shared_ptr<T>> items_;
};

/** A whole network whose parameters carry the checkpoint's keys.
 *
 *  A new network has shapes but no data; `assign_parameter` gives it tensors, without copying them. The
 *  compute dtype of a forward is that of its floating-point input; parameters of another dtype are cast on
 *  use, so float32 masters may live in a bfloat16 model. */
class Network : public torch::nn::Module {
 public:
  /** Keys in the order of registration. */
  const std::vector<std::string>& parameter_names() const { return names_; }

  /** Their shapes, in the same order. They never change, so any thread may read them. */
  const std::vector<std::vector<int64_t>>& parameter_shapes() const { return shapes_; }

  /** The parameter under `key`, on the meta device while unassigned. Constant time.
   *  @throws ArgumentError when the network has no such key */
  const Tensor& parameter(const std::string& key) const { return *find(key).parameter; }

  bool has_parameter(const std::string& key) const { return slots_.contains(key); }

  /** Makes `value` the parameter under `key`: the same tensor, sharing storage, requires_grad and grad.
   *  @throws ArgumentError when the key is unknown, the shape differs or the dtype is not a float
   *    (for a count: not int64) */
  void assign_parameter(const std::string& key, Tensor value);

  /** Lays weights out as the layers compute fastest, now or each layer's at its first use. Names, values and
   * tensors stay: whoever holds one sees it laid out anew. */
  void use_fastest_layout(bool on_use);

  /** Whether `assign_parameter` would take it; a tensor without data is enough.  @throws ArgumentError */
  void check_parameter(const std::string& key, const Tensor& value) const;

  /** How many parameters have no data yet. */
  size_t unassigned() const { return unassigned_; }

 protected:
  explicit Network(std::string name) : torch::nn::Module(std::move(name)) {}

  /** A parameter of the network itself. */
  void declare(const std::string& name, at::IntArrayRef shape);

  /** Builds the key table. Every derived constructor ends with it. */
  void index_parameters();

  /** @throws ArgumentError naming the first parameter without data, if any */
  void check_assigned() const;

 private:
  friend class Substitution;
  /** Where a parameter is, and the layer that has it; none for a parameter of the network itself. */
  struct Slot {
    Tensor* parameter;
    const Leaf* owner;
  };
  const Slot& find(const std::string& key) const;
  void exchange(Tensor& slot, Tensor& value) noexcept;

  std::vector<std::string> names_;
  std::vector<std::vector<int64_t>> shapes_;
  std::unordered_map<std::string, Slot> slots_;
  size_t unassigned_ = 0;
};

using Parameters = std::vector<std::pair<std::string, Tensor>>;

/** Puts tensors in the place of a network's parameters until it goes out of scope. They are used as they lie. */
class Substitution {
 public:
  /** @throws ArgumentError as Network::assign_parameter does; nothing is substituted then */
  Substitution(Network& network, const Parameters& parameters);
  ~Substitution();
  Substitution(const Substitution&) = delete;
  Substitution& operator=(const Substitution&) = delete;

 private:
  Network& network_;
  std::vector<std::pair<Tensor*, Tensor>> originals_;
};

/** `value` in the layout in which the layers compute fastest: channels-last for a convolution's weights on a
 *  CPU, else as it is. Copies only what is laid out otherwise; the logical contents stay the same. */
inline Tensor fastest_layout(const Tensor& value) {
  return value.dim() == 4 && value.is_cpu() ? value.contiguous(at::MemoryFormat::ChannelsLast) : value;
}

inline void assign_parameter(Network& network, const std::string& key, Tensor value) {
  network.assign_parameter(key, std::move(value));
}

}  // namespace kpop::nn
