// SPDX-License-Identifier: Apache-2.0
// The entrances of the program behind which files from outside are read, values included.
#include "importer.hpp"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <memory>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/formats/import.hpp"
#include "gpfq/formats/tensor_file.hpp"
#include "gpfq/job/config.hpp"
#include "gpfq/job/job.hpp"
#include "gpfq/job/plan.hpp"
#include "gpfq/store/model_file.hpp"
#include "gpfq/store/sample_file.hpp"
#include "job/checkpoint.hpp"
#include "job/checkpoint_check.hpp"
#include "job/halfway_job.hpp"
#include "job/subject.hpp"
#include "seeds.hpp"
#include "support/data_files.hpp"

namespace gpfq::fuzz {
namespace {

namespace fs = std::filesystem;

/// More values than an input of a megabyte stands for are not looked at: a file may be sparse, and that is no defect.
constexpr Index values_read = Index{1} << 22;

/// What a job asks of a network before it starts. The config is the least there is.
void plan(const net::Graph& graph) {
  const char* config = R"({"model": "m", "calibration": {"file": "d", "inputs": "x"}, "threads": 1})";
  if (graph.is_network()) static_cast<void>(job::make_plan(graph, job::parse_config(config, ".", "config"), 16));
}

void read_native(const fs::path& path) {
  static_cast<void>(job::inspect(path));
  const store::ModelFile model(path);
  plan(model.graph());
  for (const auto& [name, shape] : model.graph().tensors) {
    const Index rows = shape.empty() ? 1 : shape.front();
    if (rows == 0 || element_count(shape) > values_read) continue;
    std::vector<float> values(static_cast<std::size_t>(element_count(shape)));
    model.read_rows(name, 0, rows, values.data());
  }
}

/// `gpfq import`, then `gpfq plan` and `gpfq inspect`.
void import_and_plan(const fs::path& path) {
  const fs::path native = path.parent_path() / "imported.h5";
  static_cast<void>(job::import_model(path, native));
  read_native(native);
}

void run_onnx(const std::string& bytes, const fs::path& folder) {
  test::write_text(folder / "model.onnx", bytes);
  import_and_plan(folder / "model.onnx");
}

void run_keras(const std::string& bytes, const fs::path& folder) {
  test::write_text(folder / "model.h5", bytes);
  import_and_plan(folder / "model.h5");
}

void run_keras_config(const std::string& bytes, const fs::path& folder) {
  fs::copy_file(folder / keras_base, folder / "config.h5", fs::copy_options::overwrite_existing);
  set_attribute(folder / "config.h5", "model_config", bytes);
  import_and_plan(folder / "config.h5");
}

void run_native(const std::string& bytes, const fs::path& folder) {
  test::write_text(folder / "native.h5", bytes);
  read_native(folder / "native.h5");
}

void run_graph(const std::string& bytes, const fs::path& folder) {
  fs::copy_file(folder / native_base, folder / "graph.h5", fs::copy_options::overwrite_existing);
  set_attribute(folder / "graph.h5", "graph", bytes);
  read_native(folder / "graph.h5");
}

/// A weight: rows as they are and transposed.
void read_tensor(const formats::TensorLocation& location) {
  const Shape shape = formats::open_tensor(location)->shape();
  for (const bool is_transposed : {false, true}) {
    const net::TensorSource source = formats::weight_source(location, shape, is_transposed, 3);
    if (element_count(shape) > values_read) continue;
    static_cast<void>(net::read_all(source));
  }
}

void run_safetensors(const std::string& bytes, const fs::path& folder) {
  test::write_text(folder / "w.safetensors", bytes);
  read_tensor({folder / "w.safetensors", "a"});
}

void run_npy(const std::string& bytes, const fs::path& folder) {
  test::write_text(folder / "w.npy", bytes);
  read_tensor({folder / "w.npy", "", bytes.find("V2") != std::string::npos});
}

/// A dataset as a layer's weight, and as calibration data.
void run_dataset(const std::string& bytes, const fs::path& folder) {
  const fs::path path = folder / "data.h5";
  test::write_text(path, bytes);
  static_cast<void>(job::inspect(path));
  const store::SampleFile samples(path, "x");
  const Index size = element_count(samples.sample_shape());
  if (samples.sample_count() > 0 && size <= values_read) {
    std::vector<float> values(static_cast<std::size_t>(size));
    samples.read(std::array<Index, 1>{samples.sample_count() - 1}, values.data());
  }
  static_cast<void>(store::SampleFile(path, "y").read_labels(std::array<Index, 1>{0}));
  read_tensor({path, "x"});
}

void run_config(const std::string& bytes, const fs::path& folder) {
  test::write_text(folder / "job.json", bytes);
  const std::string text = job::load_config_text(folder / "job.json", {"threads=1"});
  const job::Config config = job::parse_config(text, folder, "job.json");
  static_cast<void>(config.settings_for("fc1"));
  static_cast<void>(job::open_subject(config));
}

void run_checkpoint(const std::string& bytes, const fs::path& folder) {
  test::write_text(folder / "job.ckpt", bytes);
  const job::Checkpoint checkpoint = job::read_checkpoint(folder / "job.ckpt");
  static_cast<void>(job::describe(checkpoint));
  static const job::HalfwayJob job;
  job::validate(checkpoint, job.plan, job.graph, "job.ckpt");
}

/// The archive alone, under a header that fits: whoever changes a checkpoint on purpose sees to that.
void run_archive(const std::string& bytes, const fs::path& folder) {
  const std::string digest = sha256(bytes.data(), static_cast<Index>(bytes.size()));
  run_checkpoint(fmt::format("gpfq-checkpoint {} {} {}\n", job::checkpoint_version, bytes.size(), digest) + bytes,
                 folder);
}

constexpr std::array all = {
#ifdef GPFQ_FUZZ_ONNX
    Importer{"onnx", Kind::binary, onnx_seeds, run_onnx},
#endif
    Importer{"keras", Kind::hdf5, keras_seeds, run_keras},
    Importer{"keras_config", Kind::text, keras_config_seeds, run_keras_config},
    Importer{"native", Kind::hdf5, native_seeds, run_native},
    Importer{"graph", Kind::text, graph_seeds, run_graph},
    Importer{"dataset", Kind::hdf5, dataset_seeds, run_dataset},
    Importer{"safetensors", Kind::binary, safetensors_seeds, run_safetensors},
    Importer{"npy", Kind::binary, npy_seeds, run_npy},
    Importer{"config", Kind::text, config_seeds, run_config},
    Importer{"checkpoint", Kind::binary, checkpoint_seeds, run_checkpoint},
    Importer{"archive", Kind::hdf5, archive_seeds, run_archive},
};

}  // namespace

std::span<const Importer> importers() { return all; }

Outcome try_import(const Importer& importer, const std::string& bytes, const fs::path& folder) {
  try {
    importer.run(bytes, folder);
    return {true, ""};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::input) throw;
    return {false, error.what()};
  }
}

}  // namespace gpfq::fuzz
