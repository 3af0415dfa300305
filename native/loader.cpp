#include <dlfcn.h>
#include <napi.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

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

struct Opened {
  std::string path;  // of the library that failed; empty: none did
  std::string message;
};

// Global symbols, because the add-on's needed entries and libtorch's own plug-ins look them up by name.
// Everything is bound at once, so that a library that does not fit fails here, with the linker's words, and
// not in mid-run.
Opened openAll(const std::vector<std::string>& paths) {
  for (const auto& path : paths) {
    if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) continue;
    const char* const words = dlerror();
    return {path, words == nullptr ? "unknown reason" : words};
  }
  return {};
}

Napi::Object result(Napi::Env env, const Opened& opened) {
  auto object = Napi::Object::New(env);
  object["ok"] = Napi::Boolean::New(env, opened.path.empty());
  if (opened.path.empty()) {
    object["version"] = libtorchVersion(env);
  } else {
    object["path"] = opened.path;
    object["message"] = opened.message;
  }
  return object;
}

std::vector<std::string> pathsArgument(const Napi::CallbackInfo& info) {
  if (info.Length() != 1 || !info[0].IsArray())
    throw Napi::TypeError::New(info.Env(), "open takes an array of paths");
  const auto array = info[0].As<Napi::Array>();
  std::vector<std::string> paths;
  for (std::uint32_t i = 0; i < array.Length(); ++i)
    paths.push_back(static_cast<Napi::Value>(array[i]).ToString().Utf8Value());
  return paths;
}

Napi::Value open(const Napi::CallbackInfo& info) {
  const auto paths = pathsArgument(info);
  limitSpinning();
  return result(info.Env(), openAll(paths));
}

class Opening : public Napi::AsyncWorker {
 public:
  Opening(Napi::Env env, std::vector<std::string> paths)
      : Napi::AsyncWorker(env), deferred_(env), paths_(std::move(paths)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { opened_ = openAll(paths_); }
  void OnOK() override { deferred_.Resolve(result(Env(), opened_)); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  std::vector<std::string> paths_;
  Opened opened_;
};

Napi::Value openAsync(const Napi::CallbackInfo& info) {
  auto* const opening = new Opening(info.Env(), pathsArgument(info));
  limitSpinning();
  const auto promise = opening->promise();
  opening->Queue();
  return promise;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports["builtForTorch"] = KPOP_TORCH_VERSION;
  exports["open"] = Napi::Function::New(env, open, "open");
  exports["openAsync"] = Napi::Function::New(env, openAsync, "openAsync");
  return exports;
}

}  // namespace

NODE_API_MODULE(kpop_loader, init)
