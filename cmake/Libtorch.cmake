# libtorch by include folders and direct link. find_package(Torch) is not used: it looks for CUDA where the
# libtorch is a CUDA one, and writes the build machine's paths into the result.
if(NOT EXISTS "${KPOP_LIBTORCH}/include/ATen/ATen.h" OR NOT EXISTS "${KPOP_LIBTORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "KPOP_LIBTORCH (\"${KPOP_LIBTORCH}\") is no libtorch with include/ and lib/; "
                      "`npm run setup` finds or installs one and passes it")
endif()

# Up to torch 2.8 the numbers stand in the second of these files.
set(LIBTORCH_VERSION "")
foreach(HEADER torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(NOT LIBTORCH_VERSION AND EXISTS "${KPOP_LIBTORCH}/include/${HEADER}")
    file(STRINGS "${KPOP_LIBTORCH}/include/${HEADER}" LINES REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+")
    string(REGEX MATCHALL "[0-9]+" NUMBERS "${LINES}")
    list(JOIN NUMBERS "." LIBTORCH_VERSION)
  endif()
endforeach()
if(NOT LIBTORCH_VERSION MATCHES "^[0-9]+\\.[0-9]+\\.[0-9]+$")
  message(FATAL_ERROR "No version.h in ${KPOP_LIBTORCH}/include says which version this libtorch has")
endif()
message(STATUS "libtorch ${LIBTORCH_VERSION} at ${KPOP_LIBTORCH}")

add_library(Libtorch INTERFACE)
target_include_directories(Libtorch SYSTEM INTERFACE
  "${KPOP_LIBTORCH}/include" "${KPOP_LIBTORCH}/include/torch/csrc/api/include")
target_compile_definitions(Libtorch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
# All three by name, used or not: the needed entries are what binds the add-on to the libraries that are open.
target_link_libraries(Libtorch INTERFACE
  "-Wl,--push-state,--no-as-needed"
  "${KPOP_LIBTORCH}/lib/libtorch.so" "${KPOP_LIBTORCH}/lib/libtorch_cpu.so" "${KPOP_LIBTORCH}/lib/libc10.so"
  "-Wl,--pop-state")
