#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace kpop {

/** One operation: inputs, integer attributes, scalar attributes to a result. */
struct TensorOp {
  const char* name;
  int inputs;  // -1: any number
  at::Tensor (*run)(at::ArrayRef<at::Tensor> in, at::ArrayRef<int64_t> i, at::ArrayRef<double> s);
};

/** The operation of that name in tensor_ops.inc. @throws ArgumentError */
const TensorOp& tensor_op(const std::string& name);

}  // namespace kpop
