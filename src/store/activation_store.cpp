// SPDX-License-Identifier: Apache-2.0
// Stored activations. Transfers are independent throughout: in a collective one a rank that cannot write (a full disk)
// leaves the others in it for ever, as Open MPI's own file layer does.
#include "gpfq/store/activation_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <system_error>

#include "store/dataset.hpp"

namespace gpfq::store {
namespace {

constexpr const char* dataset_name = "values";

Shape stored_shape(const Shape& sample_shape, Index samples) {
  if (sample_shape.size() == 1) return {sample_shape.front(), samples};
  Shape shape{samples};
  shape.insert(shape.end(), sample_shape.begin(), sample_shape.end());
  return shape;
}

/// rows × columns to columns × rows, in squares that stay in cache.
void transpose(const float* from, Index rows, Index columns, float* to) {
  constexpr Index square = 32;
  for (Index i0 = 0; i0 < rows; i0 += square)
    for (Index j0 = 0; j0 < columns; j0 += square)
      for (Index i = i0; i < std::min(rows, i0 + square); ++i)
        for (Index j = j0; j < std::min(columns, j0 + square); ++j) to[j * rows + i] = from[i * columns + j];
}

}  // namespace

ActivationStore::ActivationStore(const mpi::Communicator& comm, std::filesystem::path folder, bool keeps)
    : comm_(comm), folder_(std::move(folder)), is_on_one_node_(comm.node_count() == 1) {
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    std::error_code code;
    if (!keeps) std::filesystem::remove_all(folder_, code);
    if (!code) std::filesystem::create_directories(folder_, code);
    if (code) throw_output("cannot make the folder for activations {}: {}", folder_.string(), code.message());
  });
}

ActivationStore::~ActivationStore() {
  if (std::uncaught_exceptions() > 0) return;
  tensors_.clear();
  std::error_code ignored;
  if (comm_.is_root()) std::filesystem::remove_all(folder_, ignored);
}

const ActivationStore::Tensor& ActivationStore::tensor(int node, Network network) const {
  const auto found = tensors_.find({node, network});
  if (found == tensors_.end()) throw_fault("ActivationStore: node {} is not stored", node);
  return found->second;
}

ActivationStore::Tensor ActivationStore::describe(int node, Network network, const std::string& name,
                                                  const Shape& sample_shape, Index samples) const {
  Tensor tensor;
  tensor.name = name;
  tensor.sample_shape = sample_shape;
  tensor.samples = samples;
  tensor.path = folder_ / fmt::format("{}_{}.h5", node, network == Network::analog ? "analog" : "quantized");
  return tensor;
}

void ActivationStore::create(int node, Network network, const std::string& name, const Shape& sample_shape,
                             Index samples) {
  Tensor tensor = describe(node, network, name, sample_shape, samples);
  tensor.file = ParallelFile(comm_, tensor.path, OpenMode::create);
  comm_.agree([&] {
    static_cast<void>(create_dataset(tensor.file.id(), dataset_name, stored_shape(sample_shape, samples),
                                     H5T_NATIVE_FLOAT, tensor.path.string()));
  });
  tensors_[{node, network}] = std::move(tensor);
}

void ActivationStore::reopen(int node, Network network, const std::string& name, const Shape& sample_shape,
                             Index samples, const FileFrame& frame) {
  Tensor tensor = describe(node, network, name, sample_shape, samples);
  comm_.agree([&] {
    if (comm_.is_root()) check_frame(tensor.path, frame);
  });
  tensor.file = ParallelFile(comm_, tensor.path, OpenMode::read_write);
  comm_.agree([&] {
    expect_dataset(tensor.file.id(), dataset_name, stored_shape(sample_shape, samples), H5T_FLOAT,
                   tensor.path.string());
  });
  tensors_[{node, network}] = std::move(tensor);
}

FileFrame ActivationStore::frame(int node, Network network) const {
  const Tensor& source = tensor(node, network);
  const hdf5::Handle dataset = hdf5::open_dataset(source.file.id(), dataset_name, source.path.string());
  return take_frame(source.path, {range_of(dataset.id())});
}

void ActivationStore::write(int node, Network network, Index first_sample, const net::Batch& batch) {
  const Tensor& target = tensor(node, network);
  const Index size = element_count(target.sample_shape);
  Shape start(stored_shape(target.sample_shape, 0).size(), 0);
  Shape count = stored_shape(target.sample_shape, batch.samples);
  start[is_input_major(target) ? 1 : 0] = first_sample;
  AlignedBuffer<float> transposed;
  const float* data = batch.values.data();
  if (is_input_major(target)) {
    transposed = AlignedBuffer<float>(batch.samples * size, Content::anything);
    transpose(data, batch.samples, size, transposed.data());
    data = transposed.data();
  }
  const hdf5::Handle dataset = hdf5::open_dataset(target.file.id(), dataset_name, target.path.string());
  hdf5::write_box(dataset.id(), H5T_NATIVE_FLOAT, start, count, data,
                  fmt::format("activations of '{}' in {}", target.name, target.path.string()),
                  independent_transfer().id());
  bytes_written_ += batch.samples * size * static_cast<Index>(sizeof(float));
}

void ActivationStore::write_inputs(int node, Network network, Index first_input, Index first_sample,
                                   const net::Batch& batch) {
  AlignedBuffer<float> transposed(batch.values.size());
  transpose(batch.values.data(), batch.samples, batch.sample_size(), transposed.data());
  write_input_box(tensor(node, network), {first_input, first_sample}, {batch.sample_size(), batch.samples},
                  transposed.data());
}

void ActivationStore::write_whole_inputs(int node, Network network, Index first_input, Index count,
                                         const float* values) {
  const Tensor& target = tensor(node, network);
  write_input_box(target, {first_input, 0}, {count, target.samples}, values);
}

void ActivationStore::write_input_box(const Tensor& target, const Shape& start, const Shape& count,
                                      const float* values) {
  require(is_input_major(target), "ActivationStore: inputs are written to vector tensors");
  const hdf5::Handle dataset = hdf5::open_dataset(target.file.id(), dataset_name, target.path.string());
  hdf5::write_box(dataset.id(), H5T_NATIVE_FLOAT, start, count, values,
                  fmt::format("activations of '{}' in {}", target.name, target.path.string()),
                  independent_transfer().id());
  bytes_written_ += element_count(count) * static_cast<Index>(sizeof(float));
}

void ActivationStore::publish(int node, Network network) {
  if (!is_on_one_node_) return flush(node, network);
  comm_.barrier();
  note_disk();
}

void ActivationStore::flush(int node, Network network) {
  tensors_.at({node, network}).file.flush(comm_);
  comm_.barrier();
  note_disk();
}

void ActivationStore::note_disk() {
  if (!comm_.is_root()) return;
  Index disk_bytes = 0;
  for (const auto& [key, stored] : tensors_) {
    std::error_code code;
    const std::uintmax_t size = std::filesystem::file_size(stored.path, code);
    if (!code) disk_bytes += static_cast<Index>(size);
  }
  peak_disk_bytes_ = std::max(peak_disk_bytes_, disk_bytes);
}

void ActivationStore::read_inputs(int node, Network network, Index first_input, Index count, Index first_sample,
                                  Index samples, float* out, Index stride) const {
  const Tensor& source = tensor(node, network);
  require(is_input_major(source), "ActivationStore::read_inputs: a vector tensor");
  require(stride >= samples, "ActivationStore::read_inputs: the stride holds the samples");
  const std::string what = fmt::format("activations of '{}' in {}", source.name, source.path.string());
  const hdf5::Handle dataset = hdf5::open_dataset(source.file.id(), dataset_name, source.path.string());
  // Packed rows are read at the end of the padded ones' room and then spread, row by row: a row
  // never reaches the packed ones that are still to be moved.
  float* packed = out + count * (stride - samples);
  hdf5::read_box(dataset.id(), H5T_NATIVE_FLOAT, {first_input, first_sample}, {count, samples}, packed, what,
                 independent_transfer().id());
  for (Index t = 0; stride != samples && t < count; ++t) {
    std::memmove(out + t * stride, packed + t * samples, static_cast<std::size_t>(samples) * sizeof(float));
    std::fill_n(out + t * stride + samples, stride - samples, 0.0F);
  }
  bytes_read_ += count * samples * static_cast<Index>(sizeof(float));
}

net::Batch ActivationStore::read_features(int node, Network network, Index first_input, Index count,
                                          Index first_sample, Index samples) const {
  AlignedBuffer<float> inputs(count * samples);
  read_inputs(node, network, first_input, count, first_sample, samples, inputs.data(), samples);
  net::Batch batch(samples, {count}, Content::anything);
  transpose(inputs.data(), count, samples, batch.values.data());
  return batch;
}

net::Batch ActivationStore::read_channels(int node, Network network, Index first_sample, Index samples,
                                          Index first_channel, Index count) const {
  const Tensor& source = tensor(node, network);
  require(source.sample_shape.size() > 1, "ActivationStore::read_channels: feature maps");
  Shape shape = source.sample_shape;
  shape.front() = count;
  net::Batch batch(samples, shape, Content::anything);
  Shape start(shape.size() + 1, 0);
  start[0] = first_sample;
  start[1] = first_channel;
  const hdf5::Handle dataset = hdf5::open_dataset(source.file.id(), dataset_name, source.path.string());
  hdf5::read_box(dataset.id(), H5T_NATIVE_FLOAT, start, stored_shape(shape, samples), batch.values.data(),
                 fmt::format("activations of '{}' in {}", source.name, source.path.string()),
                 independent_transfer().id());
  bytes_read_ += batch.values.size() * static_cast<Index>(sizeof(float));
  return batch;
}

net::Batch ActivationStore::read_samples(int node, Network network, Index first_sample, Index count) const {
  const Tensor& source = tensor(node, network);
  net::Batch batch(count, source.sample_shape, Content::anything);
  const Index size = element_count(source.sample_shape);
  Shape start(stored_shape(source.sample_shape, 0).size(), 0);
  start[is_input_major(source) ? 1 : 0] = first_sample;
  const hdf5::Handle dataset = hdf5::open_dataset(source.file.id(), dataset_name, source.path.string());
  AlignedBuffer<float> transposed(is_input_major(source) ? count * size : 0);
  hdf5::read_box(dataset.id(), H5T_NATIVE_FLOAT, start, stored_shape(source.sample_shape, count),
                 is_input_major(source) ? transposed.data() : batch.values.data(),
                 fmt::format("activations of '{}' in {}", source.name, source.path.string()),
                 independent_transfer().id());
  if (is_input_major(source)) transpose(transposed.data(), size, count, batch.values.data());
  bytes_read_ += count * size * static_cast<Index>(sizeof(float));
  return batch;
}

std::filesystem::path ActivationStore::release(int node, Network network) {
  Tensor& target = tensors_.at({node, network});
  std::filesystem::path path = target.path;
  target.file.close(comm_);
  tensors_.erase({node, network});
  return path;
}

}  // namespace gpfq::store
