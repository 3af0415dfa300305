# What native/baseline.cpp stands in for. scripts/prebuild.mjs fails when a newer toolchain adds to these.
set(KPOP_WRAPPED dlopen dlsym dlerror pthread_once _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE)
list(TRANSFORM KPOP_WRAPPED PREPEND "LINKER:--wrap=")

add_library(kpop_baseline OBJECT native/baseline.cpp)
set_target_properties(kpop_baseline PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_link_options(kpop_baseline INTERFACE ${KPOP_WRAPPED})
