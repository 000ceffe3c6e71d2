// SPDX-License-Identifier: Apache-2.0
// Activations of both networks between layers, in parallel HDF5: one file per tensor and network,
// so that what nobody reads any more can be deleted.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "gpfq/mpi/communicator.hpp"
#include "gpfq/net/propagate.hpp"
#include "gpfq/store/file_frame.hpp"
#include "gpfq/store/parallel_file.hpp"

namespace gpfq::store {

enum class Network { analog, quantized };

/// Stored tensors by (node, network). Vectors (one extent per sample) lie input-major, N×m, so that a block
/// of inputs is one contiguous read; feature maps lie sample-major.
class ActivationStore {
 public:
  /// Root creates the folder, which is emptied unless `keeps` what an earlier run left. Collective.
  ActivationStore(const mpi::Communicator& comm, std::filesystem::path folder, bool keeps = false);
  /// Removes the folder on root unless an exception is unwinding (then root's caller does).
  ~ActivationStore();
  ActivationStore(const ActivationStore&) = delete;
  ActivationStore& operator=(const ActivationStore&) = delete;

  /// Collective. @param name  of the node, for messages
  void create(int node, Network network, const std::string& name, const Shape& sample_shape, Index samples);
  /// Opens what an earlier run created, with its `frame` where there is one. Collective.
  /// @throws Error (input) naming a file that is missing, truncated or damaged.
  void reopen(int node, Network network, const std::string& name, const Shape& sample_shape, Index samples,
              const FileFrame& frame);
  /// What of a tensor's file must not change while values are written; on root, after a first flush().
  [[nodiscard]] FileFrame frame(int node, Network network) const;
  /// Writes samples first .. first+batch.samples−1. Independent.
  void write(int node, Network network, Index first_sample, const net::Batch& batch);
  /// Writes some inputs (features) of a vector tensor for some samples: `batch` holds samples × inputs. Independent.
  void write_inputs(int node, Network network, Index first_input, Index first_sample, const net::Batch& batch);
  /// Writes inputs first .. first+count−1 of a vector tensor for all samples: `values` holds count × samples.
  /// Independent.
  void write_whole_inputs(int node, Network network, Index first_input, Index count, const float* values);
  /// Makes what was written readable by all ranks: at once where they share one node's file cache, else by flush().
  /// Collective.
  void publish(int node, Network network);
  /// The same, with what was written on disk. Collective.
  void flush(int node, Network network);
  [[nodiscard]] const std::filesystem::path& path(int node, Network network) const { return tensor(node, network).path; }
  /// Inputs first .. first+count−1 of a vector tensor for some samples, input t at out + t·stride; the rest of
  /// each stride is zeroed. Independent.
  void read_inputs(int node, Network network, Index first_input, Index count, Index first_sample, Index samples,
                   float* out, Index stride) const;
  /// The same as samples × count. Independent.
  [[nodiscard]] net::Batch read_features(int node, Network network, Index first_input, Index count, Index first_sample,
                                         Index samples) const;
  /// Channels (first extent) of feature maps for some samples: samples × count × the rest. Independent.
  [[nodiscard]] net::Batch read_channels(int node, Network network, Index first_sample, Index samples,
                                         Index first_channel, Index count) const;
  /// Samples first .. first+count−1, row-major per sample. Independent.
  [[nodiscard]] net::Batch read_samples(int node, Network network, Index first_sample, Index count) const;
  /// Closes a tensor's file and forgets it. Returns the file, which stays. Collective.
  [[nodiscard]] std::filesystem::path release(int node, Network network);

  [[nodiscard]] Index bytes_read() const { return bytes_read_; }
  [[nodiscard]] Index bytes_written() const { return bytes_written_; }
  /// Most that the files have taken together so far, as root saw them after each publish(); 0 on other ranks.
  [[nodiscard]] Index peak_disk_bytes() const { return peak_disk_bytes_; }

 private:
  struct Tensor {
    std::string name;
    Shape sample_shape;
    Index samples = 0;
    std::filesystem::path path;
    ParallelFile file;
  };
  using Key = std::pair<int, Network>;
  [[nodiscard]] Tensor describe(int node, Network network, const std::string& name, const Shape& sample_shape,
                                Index samples) const;
  [[nodiscard]] const Tensor& tensor(int node, Network network) const;
  void note_disk();
  void write_input_box(const Tensor& target, const Shape& start, const Shape& count, const float* values);
  [[nodiscard]] static bool is_input_major(const Tensor& tensor) { return tensor.sample_shape.size() == 1; }

  const mpi::Communicator& comm_;
  std::filesystem::path folder_;
  bool is_on_one_node_;
  std::map<Key, Tensor> tensors_;
  mutable Index bytes_read_ = 0;
  Index bytes_written_ = 0;
  Index peak_disk_bytes_ = 0;
};

}  // namespace gpfq::store
