#include "bindings/arguments.h"

#include <torch/csrc/api/include/torch/cuda.h>

#include <array>
#include <regex>

#include "bindings/failure.h"

namespace kpop {
namespace {

struct DtypeName {
  at::ScalarType dtype;
  const char* name;
};

constexpr std::array<DtypeName, 8> kDtypes = {{{at::kFloat, "float32"},
                                               {at::kDouble, "float64"},
                                               {at::kHalf, "float16"},
                                               {at::kBFloat16, "bfloat16"},
                                               {at::kLong, "int64"},
                                               {at::kInt, "int32"},
                                               {at::kByte, "uint8"},
                                               {at::kBool, "bool"}}};

}  // namespace

at::ScalarType dtype_argument(const Napi::Value& value) {
  const auto name = string_argument(value, "dtype");
  for (const auto& entry : kDtypes) {
    if (name == entry.name) return entry.dtype;
  }
  throw ArgumentError(
      "Expected dtype to be one of float32, float64, float16, bfloat16, int64, int32, uint8, bool "
      "but received \"" +
      name + "\"");
}

const char* dtype_name(at::ScalarType dtype) {
  for (const auto& entry : kDtypes) {
    if (dtype == entry.dtype) return entry.name;
  }
  throw ArgumentError(std::string("Tensors of ATen type ") + c10::toString(dtype) +
                      " have no JavaScript name");
}

at::Device device_argument(const Napi::Value& value) {
  const auto name = string_argument(value, "device");
  if (name == "cpu") return at::kCPU;
  static const std::regex cuda("cuda(:[0-9]{1,2})?");
  if (!std::regex_match(name, cuda)) {
    throw ArgumentError("Expected device to be \"cpu\", \"cuda\" or \"cuda:0\" and so on but received \"" +
                        name + "\"");
  }
  const int index = name == "cuda" ? 0 : std::stoi(name.substr(5));
  const auto count = torch::cuda::device_count();
  if (static_cast<size_t>(index) >= count) {
    throw DeviceError("Expected a CUDA device " + std::to_string(index) +
                      " but this machine and libtorch have " + std::to_string(count) +
                      "; use device \"cpu\", or see `kpop-native doctor`");
  }
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

std::string device_name(const at::Device& device) {
  return device.str();
}

Napi::Array shape_value(Napi::Env env, at::IntArrayRef sizes) {
  auto shape = Napi::Array::New(env, sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    shape.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(sizes[i])));
  }
  return shape;
}

}  // namespace kpop
