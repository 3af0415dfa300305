#include "bindings/mapped_file.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <memory>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/device_workers.h"
#include "bindings/guarded.h"
#include "bindings/tensor.h"

namespace kpop {
namespace {

/** Private pages of a whole file: what is written to them stays in this process. They stay when the file is
 * closed, renamed or deleted, and go with the last tensor on them. */
class Mapping {
 public:
  Mapping(void* start, size_t size) : start_(static_cast<char*>(start)), size_(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  /** On the worker: to give back millions of pages takes a while. */
  ~Mapping() {
    worker_of(at::kCPU).post([start = start_, size = size_] { munmap(start, size); });
  }

  /** Null where the system or the file's place does not map it. Room for copies is taken as pages are written
   * to, not ahead: a model may be larger than what is free. */
  static std::shared_ptr<Mapping> of(int file, size_t size) {
    void* start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
    return start == MAP_FAILED ? nullptr : std::make_shared<Mapping>(start, size);
  }

  /** Has the system read ahead; also on the worker, since it waits where the disk's queue is full. */
  static void read_ahead(const std::shared_ptr<Mapping>& mapping) {
    worker_of(at::kCPU).post([mapping] { madvise(mapping->start_, mapping->size_, MADV_WILLNEED); });
  }

  char* at(size_t offset) const { return start_ + offset; }

 private:
  char* start_;
  size_t size_;
};

struct Wanted {
  int64_t offset;
  std::vector<int64_t> sizes;
  at::ScalarType dtype;
  bool empty;
};

/** One tensor's place. @throws ArgumentError when it does not lie in the file, or not where its dtype may lie
 */
Wanted wanted_argument(const Napi::Value& value, int64_t file_size) {
  if (!value.IsObject()) throw ArgumentError("Expected a tensor's place to be an object");
  auto fields = value.As<Napi::Object>();
  Wanted wanted{static_cast<int64_t>(number_argument(fields.Get("offset"), "offset")),
                integers_argument(fields.Get("shape"), "shape"), dtype_argument(fields.Get("dtype")), false};
  const auto element = static_cast<int64_t>(c10::elementSize(wanted.dtype));
  int64_t bytes = element;
  bool fits = wanted.offset >= 0 && wanted.offset <= file_size;
  for (const auto size : wanted.sizes) {
    fits = fits && size >= 0 && !__builtin_mul_overflow(bytes, size, &bytes);
  }
  if (!fits || bytes > file_size - wanted.offset) {
    throw ArgumentError("Expected every tensor to lie inside the file of " + std::to_string(file_size) +
                        " bytes");
  }
  if (wanted.offset % element != 0) {
    throw ArgumentError(
        "Expected every tensor to start at a multiple of its element's size but one starts at byte " +
        std::to_string(wanted.offset));
  }
  wanted.empty = bytes == 0;
  return wanted;
}

bool has_size(int file, int64_t size) {
  struct stat now{};
  return fstat(file, &now) == 0 && S_ISREG(now.st_mode) && now.st_size == size;
}

Napi::Value map_tensors(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "mapTensors", [&]() -> Napi::Value {
    const auto file = static_cast<int>(number_argument(info[0], "file"));
    const auto size = static_cast<int64_t>(number_argument(info[1], "size"));
    const auto places = array_argument(
        info[2], "tensors", [size](const Napi::Value& item) { return wanted_argument(item, size); });
    if (size <= 0 || !has_size(file, size)) return info.Env().Null();
    const auto mapping = Mapping::of(file, static_cast<size_t>(size));
    if (!mapping) return info.Env().Null();
    Mapping::read_ahead(mapping);
    auto tensors = Napi::Array::New(info.Env(), places.size());
    for (size_t i = 0; i < places.size(); ++i) {
      const auto& [offset, sizes, dtype, empty] = places[i];
      const auto options = at::TensorOptions().dtype(dtype);
      auto value = empty ? at::empty(sizes, options)
                         : at::from_blob(
                               mapping->at(static_cast<size_t>(offset)), sizes, [mapping](void*) {}, options);
      tensors.Set(static_cast<uint32_t>(i),
                  TensorHandle::wrap(info.Env(), std::make_shared<TensorSlot>(std::move(value)),
                                     /*owns_memory=*/false));
    }
    return tensors;
  });
}

}  // namespace

void define_mapped_file(Napi::Env env, Napi::Object exports) {
  exports.Set("mapTensors", Napi::Function::New<map_tensors>(env, "mapTensors"));
}

}  // namespace kpop
