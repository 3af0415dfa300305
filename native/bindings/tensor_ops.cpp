#include "bindings/tensor_ops.h"

#include <ATen/ATen.h>
#include <ATen/WrapDimUtils.h>

#include <unordered_map>

#include "nn/argument_error.h"
#include "nn/module.h"

namespace kpop {
namespace {

/** at::index_select has no kernel for shapes alone; at::index has. */
at::Tensor select_along(const at::Tensor& values, int64_t dim, const at::Tensor& indices) {
  const auto wrapped = at::maybe_wrap_dim(dim, values.dim());
  c10::List<std::optional<at::Tensor>> where;
  for (int64_t before = 0; before < wrapped; ++before) where.push_back(std::nullopt);
  where.push_back(indices);
  return at::index(values, where);
}

/** at::abs has no kernel for shapes alone either; for real numbers the result is like the input. */
at::Tensor magnitude(const at::Tensor& values) {
  return values.is_meta() ? at::empty_like(values) : values.abs();
}

constexpr TensorOp kOps[] = {
#define KPOP_ENTRY(NAME, INPUTS, VIEW, ...)                                                   \
  {#NAME, INPUTS, VIEW,                                                                       \
   []([[maybe_unused]] at::ArrayRef<at::Tensor> in, [[maybe_unused]] at::ArrayRef<int64_t> i, \
      [[maybe_unused]] at::ArrayRef<double> s) -> at::Tensor { return __VA_ARGS__; }},
#define KPOP_OP(NAME, INPUTS, ...) KPOP_ENTRY(NAME, INPUTS, false, __VA_ARGS__)
#define KPOP_VIEW(NAME, INPUTS, ...) KPOP_ENTRY(NAME, INPUTS, true, __VA_ARGS__)
#include "bindings/tensor_ops.inc"
#undef KPOP_VIEW
#undef KPOP_OP
#undef KPOP_ENTRY
};

}  // namespace

const TensorOp& tensor_op(const std::string& name) {
  static const auto* table = [] {
    auto* map = new std::unordered_map<std::string, const TensorOp*>;
    for (const auto& op : kOps) map->emplace(op.name, &op);
    return map;
  }();
  const auto found = table->find(name);
  if (found == table->end()) throw ArgumentError("No tensor operation is named " + name);
  return *found->second;
}

}  // namespace kpop
