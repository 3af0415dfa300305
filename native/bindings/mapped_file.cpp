#include "bindings/mapped_file.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/device_workers.h"
#include "bindings/guarded.h"
#include "bindings/tensor.h"

namespace kpop {
namespace {

/** Private pages of a whole file: what is written to them stays in this process. They stay when the file is
 * closed, renamed or deleted, and go with the last tensor on them. What takes the system a while is left to
 * the worker. */
class Mapping {
 public:
  Mapping(char* start, size_t size) : start_(start), size_(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    worker_of(at::kCPU).post([start = start_, size = size_] { munmap(start, size); });
  }

  /** Null where the system or the file's place does not map it. Room for copies is taken as pages are written
   * to, not ahead: a model may be larger than what is free. */
  static std::shared_ptr<Mapping> of(int file, size_t size) {
    void* start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
    return start == MAP_FAILED ? nullptr : std::make_shared<Mapping>(static_cast<char*>(start), size);
  }

  /** Has the system read a part of the file ahead. It waits where the disk's queue is full. */
  static void read_ahead(const std::shared_ptr<Mapping>& self, size_t from, size_t to) {
    worker_of(at::kCPU).post([self, start = self->start_ + from / kPage * kPage, end = self->start_ + to] {
      madvise(start, static_cast<size_t>(end - start), MADV_WILLNEED);
    });
  }

  /** A tensor on `bytes` of the file. With its storage go the pages that lie in it whole. */
  static at::Tensor tensor(const std::shared_ptr<Mapping>& self, size_t offset, size_t bytes,
                           at::IntArrayRef sizes, at::ScalarType dtype) {
    const auto release = [self, offset, bytes](void*) {
      const size_t first = (offset + kPage - 1) / kPage * kPage, last = (offset + bytes) / kPage * kPage;
      if (first >= last) return;
      worker_of(at::kCPU).post(
          [self, first, last] { madvise(self->start_ + first, last - first, MADV_DONTNEED); });
    };
    return at::from_blob(self->start_ + offset, sizes, release, at::TensorOptions().dtype(dtype));
  }

 private:
  static inline const size_t kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));

  char* start_;
  size_t size_;
};

struct Wanted {
  int64_t offset;
  int64_t bytes;
  std::vector<int64_t> sizes;
  at::ScalarType dtype;
};

/** One tensor's place. @throws ArgumentError when it does not lie in the file, or not where its dtype may lie
 */
Wanted wanted_argument(const Napi::Value& value, int64_t file_size) {
  if (!value.IsObject()) throw ArgumentError("Expected a tensor's place to be an object");
  auto fields = value.As<Napi::Object>();
  const auto dtype = dtype_argument(fields.Get("dtype"));
  const auto element = static_cast<int64_t>(c10::elementSize(dtype));
  Wanted wanted{static_cast<int64_t>(number_argument(fields.Get("offset"), "offset")), element,
                integers_argument(fields.Get("shape"), "shape"), dtype};
  bool fits = wanted.offset >= 0 && wanted.offset <= file_size;
  for (const auto size : wanted.sizes) {
    fits = fits && size >= 0 && !__builtin_mul_overflow(wanted.bytes, size, &wanted.bytes);
  }
  if (!fits || wanted.bytes > file_size - wanted.offset) {
    throw ArgumentError("Expected every tensor to lie inside the file of " + std::to_string(file_size) +
                        " bytes");
  }
  if (wanted.offset % element != 0) {
    throw ArgumentError(
        "Expected every tensor to start at a multiple of its element's size but one starts at byte " +
        std::to_string(wanted.offset));
  }
  return wanted;
}

bool has_size(int file, int64_t size) {
  // Not fstat, whose symbol is newer than the glibc that the add-on is for.
  struct statx now{};
  return statx(file, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, &now) == 0 && S_ISREG(now.stx_mode) &&
         now.stx_size == static_cast<uint64_t>(size);
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
    auto tensors = Napi::Array::New(info.Env(), places.size());
    int64_t from = size, to = 0;
    for (size_t i = 0; i < places.size(); ++i) {
      const auto& [offset, bytes, sizes, dtype] = places[i];
      from = std::min(from, offset);
      to = std::max(to, offset + bytes);
      auto value = bytes == 0 ? at::empty(sizes, at::TensorOptions().dtype(dtype))
                              : Mapping::tensor(mapping, static_cast<size_t>(offset),
                                                static_cast<size_t>(bytes), sizes, dtype);
      tensors.Set(static_cast<uint32_t>(i),
                  TensorHandle::wrap(info.Env(), std::make_shared<TensorSlot>(std::move(value)),
                                     /*owns_memory=*/false));
    }
    if (from < to) Mapping::read_ahead(mapping, static_cast<size_t>(from), static_cast<size_t>(to));
    return tensors;
  });
}

}  // namespace

void define_mapped_file(Napi::Env env, Napi::Object exports) {
  exports.Set("mapTensors", Napi::Function::New<map_tensors>(env, "mapTensors"));
}

}  // namespace kpop
