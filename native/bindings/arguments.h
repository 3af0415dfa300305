#pragma once

#include <ATen/core/Tensor.h>
#include <napi.h>

#include <string>
#include <vector>

#include "nn/argument_error.h"

namespace kpop {

/** Readers of JavaScript values. They throw ArgumentError; TypeScript has checked before, so a message here
 * means that the two sides disagree. */
inline std::string string_argument(const Napi::Value& value, const char* name) {
  if (!value.IsString()) throw ArgumentError(std::string("Expected ") + name + " to be a string");
  return value.As<Napi::String>().Utf8Value();
}

inline double number_argument(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) throw ArgumentError(std::string("Expected ") + name + " to be a number");
  return value.As<Napi::Number>().DoubleValue();
}

inline bool bool_argument(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) throw ArgumentError(std::string("Expected ") + name + " to be a boolean");
  return value.As<Napi::Boolean>().Value();
}

template <typename Read>
auto array_argument(const Napi::Value& value, const char* name, Read&& read) {
  if (!value.IsArray()) throw ArgumentError(std::string("Expected ") + name + " to be an array");
  auto array = value.As<Napi::Array>();
  std::vector<decltype(read(Napi::Value()))> items;
  items.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) items.push_back(read(array.Get(i)));
  return items;
}

inline std::vector<double> numbers_argument(const Napi::Value& value, const char* name) {
  return array_argument(value, name, [&](const Napi::Value& item) { return number_argument(item, name); });
}

inline std::vector<int64_t> integers_argument(const Napi::Value& value, const char* name) {
  return array_argument(value, name, [&](const Napi::Value& item) {
    return static_cast<int64_t>(number_argument(item, name));
  });
}

inline std::vector<std::string> strings_argument(const Napi::Value& value, const char* name) {
  return array_argument(value, name, [&](const Napi::Value& item) { return string_argument(item, name); });
}

at::ScalarType dtype_argument(const Napi::Value& value);
const char* dtype_name(at::ScalarType dtype);
at::Device device_argument(const Napi::Value& value);
std::string device_name(const at::Device& device);
Napi::Array shape_value(Napi::Env env, at::IntArrayRef sizes);

}  // namespace kpop
