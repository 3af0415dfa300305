#include <dlfcn.h>
#include <napi.h>

#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

// The one C symbol of libtorch_cpu that tells the version: major, minor and patch in the three top bytes.
Napi::Value libtorchVersion(Napi::Env env) {
  using AbiVersion = std::uint64_t (*)();
  auto* const abiVersion = reinterpret_cast<AbiVersion>(dlsym(RTLD_DEFAULT, "aoti_torch_abi_version"));
  if (abiVersion == nullptr) return env.Null();
  const std::uint64_t version = abiVersion();
  const auto part = [version](int shift) { return std::to_string((version >> shift) & 0xFFU); };
  return Napi::String::New(env, part(56) + "." + part(48) + "." + part(40));
}

// How long OpenMP's threads spin between parallel regions before they sleep. Measured on 40 KPOP iterations
// of pocket with two threads: on an idle machine 10.2 s, against 8.7 s at best and 32.6 s without spinning,
// which puts the threads to sleep in each of the many short regions; beside two busy processes 38 s, against
// 19 s without spinning; libgomp's own 300,000 rounds took 200 s beside a job of two threads. libgomp reads
// its environment once, when libtorch brings it in; what the user set stays.
constexpr const char* kSpinRounds = "4000";

void limitSpinning() {
  if (getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", kSpinRounds, /*overwrite=*/0);
}

// Global symbols, because the add-on's needed entries and libtorch's own plug-ins look them up by name.
// Everything is bound at once, so that a library that does not fit fails here, with the linker's words, and
// not in mid-run.
Napi::Value open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() != 1 || !info[0].IsArray())
    throw Napi::TypeError::New(env, "open takes an array of paths");
  const auto paths = info[0].As<Napi::Array>();
  limitSpinning();
  auto result = Napi::Object::New(env);
  for (std::uint32_t i = 0; i < paths.Length(); ++i) {
    const Napi::Value entry = paths[i];
    const std::string path = entry.ToString().Utf8Value();
    if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) continue;
    const char* const words = dlerror();
    result["ok"] = Napi::Boolean::New(env, false);
    result["path"] = path;
    result["message"] = words == nullptr ? "unknown reason" : words;
    return result;
  }
  result["ok"] = Napi::Boolean::New(env, true);
  result["version"] = libtorchVersion(env);
  return result;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports["builtForTorch"] = KPOP_TORCH_VERSION;
  exports["open"] = Napi::Function::New(env, open, "open");
  return exports;
}

}  // namespace

NODE_API_MODULE(kpop_loader, init)
