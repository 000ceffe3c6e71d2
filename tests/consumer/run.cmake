# SPDX-License-Identifier: Apache-2.0
# Installs the build into a folder of its own, builds the consumer against it and runs it.
# cmake -DBUILD=<build folder> -DSOURCE=<this folder> -DWORK=<scratch> -P run.cmake
file(REMOVE_RECURSE "${WORK}")
foreach(step
    "${CMAKE_COMMAND};--install;${BUILD};--prefix;${WORK}/prefix"
    "${CMAKE_COMMAND};-S;${SOURCE};-B;${WORK}/build;-DCMAKE_PREFIX_PATH=${WORK}/prefix"
    "${CMAKE_COMMAND};--build;${WORK}/build"
    "${WORK}/build/consumer"
    "${WORK}/prefix/bin/gpfq;--version")
  execute_process(COMMAND ${step} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${step} gave ${result}\n${output}")
  endif()
endforeach()
