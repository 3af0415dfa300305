#include "bindings/tensor_ops.h"

#include <ATen/ATen.h>
#include <ATen/WrapDimUtils.h>

#include <unordered_map>

#include "nn/argument_error.h"

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

// Nor have at::abs and at::relu; for real numbers the result is like the input.
at::Tensor magnitude(const at::Tensor& values) {
  return values.is_meta() ? at::empty_like(values) : values.abs();
}
at::Tensor rectify(const at::Tensor& values) {
  return values.is_meta() ? at::empty_like(values) : values.relu();
}

/** The X of L L^T X = B. at::cholesky_solve has no kernel for shapes alone, so its demands are checked here.
 */
at::Tensor solve_factored(const at::Tensor& b, const at::Tensor& factor) {
  check_argument(b.dim() >= 2 && factor.dim() >= 2 && factor.size(-1) == factor.size(-2) &&
                     factor.size(-1) == b.size(-2),
                 "Expected the right-hand side to be (..., n, k) and the factor (..., n, n) but received ",
                 b.sizes(), " and ", factor.sizes());
  check_argument(b.scalar_type() == factor.scalar_type(),
                 "Expected the right-hand side and the factor to have one dtype but received ",
                 b.scalar_type(), " and ", factor.scalar_type());
  // The product has the shape of the solution, batch dimensions included.
  return b.is_meta() ? factor.matmul(b) : at::cholesky_solve(b, factor);
}

/** The R of determinant 1 with the largest tr(R^T M): U V^T of M's singular value decomposition, with the last column of U
 *  turned round where that is a reflection. */
at::Tensor nearest_rotation(const at::Tensor& matrix) {
  const auto [u, s, vh] = at::linalg_svd(matrix, /*full_matrices=*/true);
  if (matrix.is_meta()) return u.matmul(vh);
  const auto last = u.size(-1) - 1;
  const auto turned = u.narrow(-1, last, 1) * at::linalg_det(u.matmul(vh)).sign().unsqueeze(-1).unsqueeze(-1);
  return at::cat({u.narrow(-1, 0, last), turned}, -1).matmul(vh);
}

constexpr TensorOp kOps[] = {
#define KPOP_OP(NAME, INPUTS, ...)                                                            \
  {#NAME, INPUTS,                                                                             \
   []([[maybe_unused]] at::ArrayRef<at::Tensor> in, [[maybe_unused]] at::ArrayRef<int64_t> i, \
      [[maybe_unused]] at::ArrayRef<double> s) -> at::Tensor { return __VA_ARGS__; }},
#include "bindings/tensor_ops.inc"
#undef KPOP_OP
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
