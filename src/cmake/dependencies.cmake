# SPDX-License-Identifier: Apache-2.0
# Finds the packages that gpfq stands on, and says in one line what is missing and where it comes from.

find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS C CXX)

set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 REQUIRED COMPONENTS C)
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "gpfq needs parallel HDF5; the one found is serial (${HDF5_C_LIBRARIES}). "
                      "Debian: libhdf5-openmpi-dev. Spack: hdf5+mpi. Modules: usually named hdf5-parallel or phdf5.")
endif()

find_package(Eigen3 3.4 REQUIRED NO_MODULE)
set(BLA_VENDOR OpenBLAS)
find_package(BLAS)
if(NOT BLAS_FOUND)
  unset(BLA_VENDOR)
  find_package(BLAS REQUIRED)
endif()
find_package(Boost 1.71 REQUIRED COMPONENTS serialization)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json 3.9 REQUIRED)
find_package(CLI11 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)

# The targets below are imported, so that installed packages name them and this file makes them again.
if(GPFQ_ONNX)
  find_package(Protobuf REQUIRED)
  find_path(GPFQ_ONNX_INCLUDE onnx/onnx_pb.h REQUIRED)
  find_library(GPFQ_ONNX_PROTO onnx_proto REQUIRED)
  if(NOT TARGET gpfq::onnx_proto)
    add_library(gpfq::onnx_proto INTERFACE IMPORTED)
    target_include_directories(gpfq::onnx_proto SYSTEM INTERFACE ${GPFQ_ONNX_INCLUDE})
    target_compile_definitions(gpfq::onnx_proto INTERFACE ONNX_NAMESPACE=onnx ONNX_ML=1)
    target_link_libraries(gpfq::onnx_proto INTERFACE ${GPFQ_ONNX_PROTO} protobuf::libprotobuf)
  endif()
endif()

# The BLAS and how Eigen reaches it; whether it is OpenBLAS, whose own calls set threads and tell the core.
include(CheckFunctionExists)
set(CMAKE_REQUIRED_LIBRARIES ${BLAS_LIBRARIES})
check_function_exists(openblas_get_corename GPFQ_BLAS_IS_OPENBLAS)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT TARGET gpfq::linear_algebra)
  add_library(gpfq::linear_algebra INTERFACE IMPORTED)
  target_link_libraries(gpfq::linear_algebra INTERFACE Eigen3::Eigen ${BLAS_LIBRARIES})
  # One alignment whatever the instruction set: objects pass between code built for different ones, and reductions
  # then start alike everywhere.
  target_compile_definitions(gpfq::linear_algebra INTERFACE EIGEN_USE_BLAS EIGEN_DONT_PARALLELIZE
    EIGEN_MAX_ALIGN_BYTES=64)
endif()
