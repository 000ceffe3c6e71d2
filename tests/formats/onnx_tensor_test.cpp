// SPDX-License-Identifier: Apache-2.0
// Tensors of ONNX models in every encoding and place, and the sizes and paths in a file that must
// not be believed.
#include <cmath>
#include <limits>

#include "gpfq/formats/import.hpp"
#include "import_testing.hpp"
#include "onnx_model_writer.hpp"

namespace gpfq::formats {
namespace {

using Floats = std::vector<float>;
using Type = onnx::TensorProto;

// 1, −2, 0.5, 65504 (the largest), 2^−24 (the smallest subnormal) and −0 in IEEE binary16.
const std::vector<std::uint16_t> half_bits = {0x3C00, 0xC000, 0x3800, 0x7BFF, 0x0001, 0x8000};
const Floats half_values = {1, -2, 0.5, 65504, 0x1p-24F, -0.0F};
// 1, −2, 0.5, 3 · 2^100, 2^−133 (subnormal) and −0 in bfloat16.
const std::vector<std::uint16_t> brain_bits = {0x3F80, 0xC000, 0x3F00, 0x7240, 0x0001, 0x8000};
const Floats brain_values = {1, -2, 0.5, 0x1.8p101F, 0x1p-133F, -0.0F};

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

class OnnxTensor : public ImportTest {
 protected:
  /// A dense layer 3 × 2 whose weight `fill` writes.
  template <class Fill>
  [[nodiscard]] net::Model import(Type::DataType type, Fill&& fill, const Shape& shape = {3, 2}) const {
    OnnxModelWriter writer;
    fill(writer.empty("fc.weight", shape, type));
    set_integer(writer.node("Gemm", {"x", "fc.weight"}, "y"), "transB", 1);
    return import_onnx(writer.save(path("net.onnx")));
  }
  template <class Fill>
  [[nodiscard]] std::string error_of(Type::DataType type, Fill&& fill, const Shape& shape = {3, 2}) const {
    return input_error([&] { (void)values(import(type, fill, shape), "fc.weight"); });
  }

  /// The weight as external data with these entries.
  [[nodiscard]] static auto external(const std::vector<std::pair<std::string, std::string>>& entries) {
    return [entries](Type& tensor) {
      tensor.set_data_location(Type::EXTERNAL);
      for (const auto& [key, value] : entries) {
        onnx::StringStringEntryProto& entry = *tensor.add_external_data();
        entry.set_key(key);
        entry.set_value(value);
      }
    };
  }
  void write(const std::filesystem::path& file, const std::string& bytes) const {
    std::ofstream(file, std::ios::binary) << bytes;
  }
};

TEST_F(OnnxTensor, TypedFields) {
  const Floats expected = {1, 2, 3, 4, 5, 6};
  const auto floats = [&](Type& tensor) {
    for (const float v : expected) tensor.add_float_data(v);
  };
  EXPECT_EQ(values(import(Type::FLOAT, floats), "fc.weight"), expected);
  const auto doubles = [&](Type& tensor) {
    for (const float v : expected) tensor.add_double_data(v);
  };
  EXPECT_EQ(values(import(Type::DOUBLE, doubles), "fc.weight"), expected);
  const auto halves = [](Type& tensor) {
    for (const std::uint16_t v : half_bits) tensor.add_int32_data(v);
  };
  EXPECT_EQ(values(import(Type::FLOAT16, halves), "fc.weight"), half_values);
  const auto brains = [](Type& tensor) {
    for (const std::uint16_t v : brain_bits) tensor.add_int32_data(v);
  };
  EXPECT_EQ(values(import(Type::BFLOAT16, brains), "fc.weight"), brain_values);
}

TEST_F(OnnxTensor, RawData) {
  const auto raw = [](const std::string& bytes) { return [=](Type& tensor) { tensor.set_raw_data(bytes); }; };
  const std::vector<double> doubles = {1, 2, 3, 4, 5, 0.1};
  EXPECT_EQ(values(import(Type::DOUBLE, raw(bytes_of(doubles))), "fc.weight"), (Floats{1, 2, 3, 4, 5, 0.1F}));
  EXPECT_EQ(values(import(Type::FLOAT16, raw(bytes_of(half_bits))), "fc.weight"), half_values);
  EXPECT_EQ(values(import(Type::BFLOAT16, raw(bytes_of(brain_bits))), "fc.weight"), brain_values);
}

TEST_F(OnnxTensor, EverySixteenBitFloatConverts) {
  // The definition: (−1)^s · 2^(e−15) · (1 + f/1024), or · 2^−14 · f/1024 where e is 0.
  OnnxModelWriter writer({-1, 1});
  std::vector<std::uint16_t> bits;
  Floats expected;
  for (std::uint32_t b = 0; b < 0x10000U; ++b) {
    const int exponent = static_cast<int>((b >> 10U) & 31U);
    const double fraction = (b & 1023U) / 1024.0;
    if (exponent == 31) continue;
    bits.push_back(static_cast<std::uint16_t>(b));
    const double size = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
    expected.push_back(static_cast<float>((b & 0x8000U) == 0 ? size : -size));
  }
  const Index count = static_cast<Index>(bits.size());
  writer.empty("fc.weight", {count, 1}, Type::FLOAT16).set_raw_data(bytes_of(bits));
  set_integer(writer.node("Gemm", {"x", "fc.weight"}, "y"), "transB", 1);
  EXPECT_EQ(values(import_onnx(writer.save(path("net.onnx"))), "fc.weight"), expected);
}

TEST_F(OnnxTensor, SizesMustFitTheShape) {
  const auto two_floats = [](Type& tensor) { tensor.set_raw_data(std::string(8, '\0')); };
  EXPECT_TRUE(mentions(error_of(Type::FLOAT, two_floats), "tensor 'fc.weight' has 8 bytes; its shape 3x2 needs 24"));
  const auto one_value = [](Type& tensor) { tensor.add_float_data(1); };
  EXPECT_TRUE(mentions(error_of(Type::FLOAT, one_value), "has 1 values; its shape 3x2 needs 6"));
  const Shape huge{Index{1} << 50, Index{1} << 11};
  EXPECT_TRUE(mentions(error_of(Type::FLOAT, one_value, huge), "claims"));
  EXPECT_TRUE(mentions(error_of(Type::FLOAT, one_value, {Index{1} << 40, Index{1} << 40}), "2^62"));
  EXPECT_TRUE(mentions(error_of(Type::FLOAT, one_value, {-3, 2}), "has an extent of -3"));
  EXPECT_FALSE(error_of(Type::FLOAT, [](Type&) {}, {0, 2}).empty());
  EXPECT_TRUE(mentions(error_of(Type::INT8, one_value), "Gemm whose input 1 is no floating-point constant"));
}

TEST_F(OnnxTensor, ValuesMustBeFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::nanf("")}) {
    const auto fill = [&](Type& tensor) { tensor.set_raw_data(bytes_of(Floats{1, 2, 3, 4, bad, 6})); };
    EXPECT_TRUE(mentions(error_of(Type::FLOAT, fill), "tensor 'fc.weight' holds"));
    EXPECT_TRUE(mentions(error_of(Type::FLOAT, fill), "at index [2, 0]"));
  }
  const auto too_large = [](Type& tensor) {
    for (const double v : {1.0, 2.0, 3.0, 4.0, 5.0, 1e300}) tensor.add_double_data(v);
  };
  EXPECT_TRUE(mentions(error_of(Type::DOUBLE, too_large), "at index [2, 1]"));

  OnnxModelWriter turned;  // a transposed weight names the place in the file
  turned.floats("w", {2, 3}, {1, 2, 3, 4, 5, infinity});
  turned.node("MatMul", {"x", "w"}, "y");
  const net::Model model = import_onnx(turned.save(path("net.onnx")));
  EXPECT_TRUE(mentions(input_error([&] { (void)values(model, "y.weight"); }), "tensor 'w' holds inf at index [1, 2]"));
}

TEST_F(OnnxTensor, ExternalDataInsideTheFolder) {
  const Floats expected = {1, 2, 3, 4, 5, 6};
  write(path("weights.bin"), std::string(16, 'x') + bytes_of(expected) + "tail");
  const auto at = external({{"location", "weights.bin"}, {"offset", "16"}, {"length", "24"}});
  const net::Model model = import(Type::FLOAT, at);
  EXPECT_EQ(values(model, "fc.weight"), expected);
  std::filesystem::create_directory(path("sub"));
  write(path("sub/w"), bytes_of(half_bits));
  EXPECT_EQ(values(import(Type::FLOAT16, external({{"location", "sub/w"}})), "fc.weight"), half_values);
}

TEST_F(OnnxTensor, ExternalDataAreGatheredWhereTransposed) {
  OnnxModelWriter writer;
  write(path("w.bin"), bytes_of(Floats{1, 2, 3, 4, 5, 6}));
  external({{"location", "w.bin"}})(writer.empty("w", {2, 3}, Type::FLOAT));
  writer.node("MatMul", {"x", "w"}, "y");
  EXPECT_EQ(values(import_onnx(writer.save(path("net.onnx"))), "y.weight"), (Floats{1, 4, 2, 5, 3, 6}));
}

TEST_F(OnnxTensor, ExternalDataMayNotLeaveTheFolder) {
  write(folder_ / "secret.bin", bytes_of(Floats(6, 1.0F)));
  const auto error_at = [&](const std::string& location) {
    return error_of(Type::FLOAT, external({{"location", location}}));
  };
  for (const std::string& location : {std::string("../secret.bin"), std::string("a/../../secret.bin"),
                                      (folder_ / "secret.bin").string(), std::string()}) {
    EXPECT_TRUE(mentions(error_at(location), "expected a path inside the model's folder")) << location;
  }
  std::filesystem::create_symlink(folder_ / "secret.bin", path("link.bin"));
  EXPECT_TRUE(mentions(error_at("link.bin"), "lead out of the model's folder"));
  std::filesystem::create_directory_symlink(folder_, path("up"));
  EXPECT_TRUE(mentions(error_at("up/secret.bin"), "lead out of the model's folder"));
  EXPECT_TRUE(mentions(error_at("missing.bin"), "external data 'missing.bin'"));
  std::filesystem::create_directory(path("folder"));
  EXPECT_TRUE(mentions(error_at("folder"), "are no file"));
}

TEST_F(OnnxTensor, ExternalSizesAreChecked) {
  write(path("w.bin"), bytes_of(Floats(6, 1.0F)));
  const auto error_at = [&](const std::string& key, const std::string& value) {
    return error_of(Type::FLOAT, external({{"location", "w.bin"}, {key, value}}));
  };
  EXPECT_TRUE(mentions(error_at("offset", "4"), "needs bytes 4 to 28 of external data 'w.bin', which has 24"));
  EXPECT_TRUE(mentions(error_at("offset", "9223372036854775807"), "which has 24"));
  EXPECT_TRUE(mentions(error_at("length", "20"), "external data of 20 bytes; its shape needs 24"));
  for (const char* bad : {"-4", "4x", "", "99999999999999999999"}) {
    EXPECT_TRUE(mentions(error_at("offset", bad), "expected a number of bytes")) << bad;
  }
  const auto large = external({{"location", "w.bin"}});
  EXPECT_TRUE(mentions(error_of(Type::FLOAT, large, {1000000, 1000000}), "which has 24"));
}

TEST_F(OnnxTensor, ExternalFileThatShrinksIsAnError) {
  write(path("w.bin"), bytes_of(Floats(6, 1.0F)));
  const net::Model model = import(Type::FLOAT, external({{"location", "w.bin"}}));
  std::filesystem::resize_file(path("w.bin"), 8);
  EXPECT_TRUE(mentions(input_error([&] { (void)values(model, "fc.weight"); }), "it became shorter"));
}

}  // namespace
}  // namespace gpfq::formats
