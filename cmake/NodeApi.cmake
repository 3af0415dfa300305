# Node-API headers from npm packages, so that configuring needs no network. cmake-js passes them in CMAKE_JS_INC.
if(CMAKE_JS_INC)
  set(NODE_API_INCLUDE ${CMAKE_JS_INC})
else()
  execute_process(
    COMMAND node -p "['node-api-headers', 'node-addon-api'].map((n) => path.resolve(require(n).include_dir)).join(';')"
    WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}"
    OUTPUT_VARIABLE NODE_API_INCLUDE
    OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE NODE_API_RESULT)
  if(NOT NODE_API_RESULT EQUAL 0)
    message(FATAL_ERROR "The Node-API headers were not found: run `npm ci` first")
  endif()
endif()

add_library(NodeApi INTERFACE)
target_include_directories(NodeApi SYSTEM INTERFACE ${NODE_API_INCLUDE})
# An exception cannot be thrown into a thread that is being terminated; it must not end the process instead.
target_compile_definitions(NodeApi INTERFACE NAPI_VERSION=9 NODE_ADDON_API_CPP_EXCEPTIONS
  NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
