// SPDX-License-Identifier: Apache-2.0
// The file's layout is made serially, so that it is that of any other model; values go in side by side.
#include "gpfq/store/model_copy.hpp"

#include "gpfq/base/error.hpp"
#include "gpfq/base/shard_plan.hpp"
#include "gpfq/store/parallel_file.hpp"
#include "store/dataset.hpp"

namespace gpfq::store {

void write_model(const mpi::Communicator& comm, const std::filesystem::path& path, const net::Model& model) {
  const std::filesystem::path partial = path.string() + ".partial";
  comm.agree([&] {
    net::validate(model.graph);
    for (const auto& [name, shape] : model.graph.tensors)
      require(model.tensors.at(name).shape == shape, "write_model: a tensor's source has another shape than the graph says");
    if (!comm.is_root()) return;
    hdf5::Handle file = create_model_file(partial, model.graph);
    for (const auto& [name, shape] : model.graph.tensors)
      static_cast<void>(create_dataset(file.id(), "tensors/" + name, shape, H5T_IEEE_F32LE, path.string()));
    hdf5::close(file, ErrorKind::output, "writing " + partial.string());
  });
  ParallelFile file(comm, partial, OpenMode::read_write);
  comm.agree([&] {
    const hdf5::Handle transfer = independent_transfer();
    for (const auto& [name, shape] : model.graph.tensors) {
      const Index rows = shape.empty() ? 1 : shape.front();
      const Range mine = ShardPlan(rows, 1, comm.size()).items_of(comm.rank());
      const hdf5::Handle dataset = hdf5::open_dataset(file.id(), "tensors/" + name, path.string());
      copy_rows(dataset.id(), name, model.tensors.at(name), mine, path.string(), transfer.id());
    }
  });
  file.close(comm);
  comm.agree([&] {
    std::error_code code;
    if (comm.is_root()) std::filesystem::rename(partial, path, code);
    if (code) throw_output("cannot write {}: {}", path.string(), code.message());
  });
}

}  // namespace gpfq::store
