// Keeps the add-ons loadable on systems older than the one they are built on: package.json's "binary" says
// how old. The linker takes the newest version of each symbol that the build machine knows. For the few that
// have moved since the baseline, it is told (--wrap, in cmake/Baseline.cmake) to come here, and from here the
// old version is called.
#include <pthread.h>

#include <condition_variable>
#include <mutex>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker gives the names.
extern "C" {

// dl* and pthread_once moved into libc.so.6 with glibc 2.34; Node brings in the libraries that had them
// before.
void* kpop_dlopen(const char* path, int mode);
void* kpop_dlsym(void* handle, const char* name);
char* kpop_dlerror();
int kpop_pthread_once(pthread_once_t* control, void (*routine)());
__asm__(".symver kpop_dlopen, dlopen@GLIBC_2.2.5");
__asm__(".symver kpop_dlsym, dlsym@GLIBC_2.2.5");
__asm__(".symver kpop_dlerror, dlerror@GLIBC_2.2.5");
__asm__(".symver kpop_pthread_once, pthread_once@GLIBC_2.2.5");

void* __wrap_dlopen(const char* path, int mode) {
  return kpop_dlopen(path, mode);
}
void* __wrap_dlsym(void* handle, const char* name) {
  return kpop_dlsym(handle, name);
}
char* __wrap_dlerror() {
  return kpop_dlerror();
}
int __wrap_pthread_once(pthread_once_t* control, void (*routine)()) {
  return kpop_pthread_once(control, routine);
}

// GCC 12 gave this one a new version for losing its noexcept.
void kpop_condition_wait(std::condition_variable* condition, std::unique_lock<std::mutex>* lock);
__asm__(
    ".symver kpop_condition_wait, "
    "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");
void __wrap__ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE(std::condition_variable* condition,
                                                                      std::unique_lock<std::mutex>* lock) {
  kpop_condition_wait(condition, lock);
}

// glibc 2.32's word that a process has one thread yet, which makes shared_ptr count without atomics. No
// process that runs Node has one, so here the answer is always no.
extern char __libc_single_threaded;
char __libc_single_threaded = 0;

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
