// SPDX-License-Identifier: Apache-2.0
// Matrices in .npy, .safetensors and HDF5: every type, by rows and by columns; and files that claim what is not so.
#include "gpfq/formats/tensor_file.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/temp_folder.hpp"
#include "support/tensor_files.hpp"

namespace gpfq::formats {
namespace {

using test::input_error;
using test::mentions;

/// Quarters from −64 on: exact in float16 and bfloat16 while there are few.
std::vector<float> numbers(Index count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = 0.25F * static_cast<float>(i % 250 - 120);
  return values;
}

/// A matrix of 7 × 5 numbers in one of the files and types.
struct Kind {
  const char* name;
  std::string type;  ///< as test::packed() has them
  std::function<TensorLocation(const test::TempFolder&, const Shape&, const std::vector<float>&)> write;
};
std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

TensorLocation write_npy(const test::TempFolder& folder, const std::string& descr, const std::string& type,
                         const Shape& shape, const std::vector<float>& values) {
  test::write_npy(folder / "a.npy", test::npy_header(descr, shape), test::packed(type, values));
  return {folder / "a.npy", "", type == "bf16"};
}

TensorLocation write_safetensors(const test::TempFolder& folder, const std::string& type, const Shape& shape,
                                 const std::vector<float>& values) {
  test::write_safetensors(folder / "a.safetensors", {{"before", "f2", {3}, {1, 2, 3}},
                                                     {"model.w/x", type, shape, values},
                                                     {"none", "f4", {0}, {}},
                                                     {"after", "f4", {2}, {7, 8}}});
  return {folder / "a.safetensors", "model.w/x", false};
}

std::vector<std::uint16_t> words(const std::vector<float>& values, std::uint16_t (*bits)(float)) {
  std::vector<std::uint16_t> result;
  for (const float value : values) result.push_back(bits(value));
  return result;
}

const std::vector<Kind> kinds = {
    {"NpyFloat32", "f4", [](const auto& f, auto s, auto v) { return write_npy(f, "<f4", "f4", s, v); }},
    {"NpyFloat64", "f8", [](const auto& f, auto s, auto v) { return write_npy(f, "<f8", "f8", s, v); }},
    {"NpyFloat16", "f2", [](const auto& f, auto s, auto v) { return write_npy(f, "<f2", "f2", s, v); }},
    {"NpyBfloat16", "bf16", [](const auto& f, auto s, auto v) { return write_npy(f, "|V2", "bf16", s, v); }},
    {"NpyBfloat16AsWords", "bf16", [](const auto& f, auto s, auto v) { return write_npy(f, "<u2", "bf16", s, v); }},
    {"NpyBfloat16AsSignedWords", "bf16", [](const auto& f, auto s, auto v) { return write_npy(f, "<i2", "bf16", s, v); }},
    {"SafetensorsFloat16", "f2", [](const auto& f, auto s, auto v) { return write_safetensors(f, "f2", s, v); }},
    {"SafetensorsBfloat16", "bf16", [](const auto& f, auto s, auto v) { return write_safetensors(f, "bf16", s, v); }},
    {"SafetensorsFloat32", "f4", [](const auto& f, auto s, auto v) { return write_safetensors(f, "f4", s, v); }},
    {"SafetensorsFloat64", "f8", [](const auto& f, auto s, auto v) { return write_safetensors(f, "f8", s, v); }},
    {"Hdf5Float32", "f4",
     [](const auto& f, auto s, auto v) {
       test::write_dataset(f / "a.h5", "group/w", s, v);
       return TensorLocation{f / "a.h5", "group/w", false};
     }},
    {"Hdf5Float16", "f2",
     [](const auto& f, auto s, auto v) {
       test::write_float16_dataset(f / "a.h5", "w", s, words(v, test::float16_bits));
       return TensorLocation{f / "a.h5", "w", false};
     }},
    {"Hdf5Bfloat16", "bf16",
     [](const auto& f, auto s, auto v) {
       test::write_dataset(f / "a.h5", "w", s, words(v, test::bfloat16_bits));
       return TensorLocation{f / "a.h5", "w", true};
     }},
    {"Hdf5Bfloat16AsSignedWords", "bf16",  // as tensor.view(torch.int16).numpy() comes
     [](const auto& f, auto s, auto v) {
       const std::vector<std::uint16_t> bits = words(v, test::bfloat16_bits);
       test::write_dataset(f / "a.h5", "w", s, std::vector<std::int16_t>(bits.begin(), bits.end()));
       return TensorLocation{f / "a.h5", "w", true};
     }},
};

class EveryKind : public testing::TestWithParam<Kind> {
 protected:
  test::TempFolder folder_;
};

TEST_P(EveryKind, RowsAndColumnsAreAsWritten) {
  const std::vector<float> values = numbers(35);
  const auto file = open_tensor(GetParam().write(folder_, {7, 5}, values));
  EXPECT_EQ(file->shape(), (Shape{7, 5}));
  for (Index first = 0; first <= 7; ++first)
    for (Index count = 0; first + count <= 7; ++count) {
      std::vector<float> rows(static_cast<std::size_t>(count * 5));
      file->read_rows(first, count, rows.data());
      EXPECT_EQ(rows, std::vector<float>(values.begin() + first * 5, values.begin() + (first + count) * 5));
    }
  for (Index first = 0; first <= 5; ++first)
    for (Index count = 0; first + count <= 5; ++count) {
      for (const Index rows : {0, 4, 7}) {
        std::vector<float> columns(static_cast<std::size_t>(count * rows));
        file->read_columns(first, count, rows, columns.data());
        for (Index column = 0; column < count; ++column)
          for (Index row = 0; row < rows; ++row)
            EXPECT_EQ(columns[static_cast<std::size_t>(column * rows + row)],
                      values[static_cast<std::size_t>(row * 5 + first + column)]);
      }
    }
  EXPECT_THROW(file->read_rows(6, 2, nullptr), Error);
  EXPECT_THROW(file->read_columns(-1, 2, 7, nullptr), Error);
  EXPECT_THROW(file->read_columns(0, 2, 8, nullptr), Error);
}

// Longer than what is converted and transposed at a time.
TEST_P(EveryKind, LongMatricesBothWays) {
  const Shape shape{1100, 300};
  const std::vector<float> values = numbers(element_count(shape));
  const TensorLocation location = GetParam().write(folder_, shape, values);
  std::vector<float> rows(values.size());
  open_tensor(location)->read_rows(0, 1100, rows.data());
  EXPECT_EQ(rows, values);
  const net::TensorSource weights = weight_source(location, shape, false, 4);
  EXPECT_EQ(weights.shape, shape);
  EXPECT_EQ(net::read_all(weights), values);
  for (const Index strip_rows : {1, 7, 300, 1000}) {
    const net::TensorSource transposed = weight_source(location, shape, true, strip_rows);
    EXPECT_EQ(transposed.shape, (Shape{300, 1100}));
    std::vector<float> found(values.size());
    for (Index first = 0; first < 300; first += 13)
      transposed.read_rows(first, std::min<Index>(13, 300 - first), found.data() + first * 1100);
    for (Index row = 0; row < 1100; ++row)
      for (Index column = 0; column < 300; ++column)
        ASSERT_EQ(found[static_cast<std::size_t>(column * 1100 + row)],
                  values[static_cast<std::size_t>(row * 300 + column)]);
  }
}

TEST_P(EveryKind, TruncatedFilesAreRefused) {
  const TensorLocation whole = GetParam().write(folder_, {40, 30}, numbers(1200));
  TensorLocation cut = whole;
  cut.file = folder_ / ("cut" + whole.file.extension().string());
  const Index size = static_cast<Index>(std::filesystem::file_size(whole.file));
  for (const Index bytes : {Index{0}, Index{1}, Index{7}, Index{9}, Index{40}, size / 2, size - 1}) {
    test::copy_head(whole.file, cut.file, bytes);
    EXPECT_TRUE(mentions(input_error([&] { static_cast<void>(open_tensor(cut)); }), "cut")) << bytes;
  }
}

TEST_P(EveryKind, ShapesThatAreNoMatrix) {
  for (const Shape& shape : {Shape{6}, Shape{1, 2, 3}, Shape{0, 3}, Shape{3, 0}}) {
    const test::TempFolder folder;
    const TensorLocation location = GetParam().write(folder, shape, numbers(element_count(shape)));
    EXPECT_TRUE(
        mentions(input_error([&] { static_cast<void>(open_tensor(location)); }), "has shape " + to_string(shape)));
  }
}

INSTANTIATE_TEST_SUITE_P(Files, EveryKind, testing::ValuesIn(kinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

class TensorErrors : public testing::Test {
 protected:
  /// The message for a location; it always names the file.
  std::string refusal(const TensorLocation& location) {
    const std::string message = input_error([&] { static_cast<void>(open_tensor(location)); });
    EXPECT_TRUE(mentions(message, location.file.filename().string()));
    return message;
  }
  std::string npy_refusal(const std::string& header, Index data_bytes = 24, bool is_bfloat16 = false) {
    test::write_npy(folder_ / "a.npy", header, std::string(static_cast<std::size_t>(data_bytes), '\0'));
    return refusal({folder_ / "a.npy", "", is_bfloat16});
  }
  std::string safetensors_refusal(const std::string& header, const std::string& tensor = "w", Index data_bytes = 24) {
    test::write_safetensors(folder_ / "a.safetensors", header, std::string(static_cast<std::size_t>(data_bytes), '\0'));
    return refusal({folder_ / "a.safetensors", tensor, false});
  }
  test::TempFolder folder_;
};

TEST_F(TensorErrors, FilesThatAreNone) {
  EXPECT_TRUE(mentions(refusal({folder_ / "none.npy", "", false}), "does not exist"));
  std::filesystem::create_directory(folder_ / "folder.npy");
  EXPECT_TRUE(mentions(refusal({folder_ / "folder.npy", "", false}), "not a regular file"));
  test::write_text(folder_ / "text.npy", "no tensors here");
  EXPECT_TRUE(mentions(refusal({folder_ / "text.npy", "", false}), "none of the files"));
}

TEST_F(TensorErrors, NpyHeaders) {
  EXPECT_TRUE(mentions(npy_refusal("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }"), "ascontiguousarray"));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header(">f4", {2, 3})), "big-endian"));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header("<i4", {2, 3})), "'<i4'"));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header("|V2", {2, 3}), 12), "\"dtype\""));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header("<u2", {2, 3}), 12), "\"dtype\""));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header("<i2", {2, 3}), 12), "\"dtype\""));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header("<f4", {2, 3}), 24, true), "'|V2', '<u2' or '<i2'"));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header("<f4", {2, 4})), "24 bytes"));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header("<f4", {2, 2})), "24 bytes"));
  EXPECT_TRUE(mentions(npy_refusal(test::npy_header("<f4", {2, 3}), 23), "23 bytes"));
  static_cast<void>(npy_refusal(test::npy_header("<f4", {Index{1} << 40, Index{1} << 40})));
  static_cast<void>(npy_refusal(test::npy_header("<f4", {Index{1} << 61, 2})));
  for (const char* header :
       {"", "{", "}", "{'descr'", "{'descr': ", "{'descr': '<f4'", "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", "{'descr': '<f4', 'fortran_order': False, 'shape': 6}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
        "{'descr': '\x1b<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '\xff<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999999999)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}"})
    EXPECT_TRUE(mentions(npy_refusal(header), "its header")) << header;
  EXPECT_TRUE(mentions(refusal({folder_ / "a.npy", "w", false}), "without a name"));
  test::write_text(folder_ / "a.npy", std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14));
  EXPECT_TRUE(mentions(refusal({folder_ / "a.npy", "", false}), "claims a header of 4294967295 bytes"));
  test::write_text(folder_ / "a.npy", std::string("\x93NUMPY\x09\x00\x02\x00{}    ", 16));
  EXPECT_TRUE(mentions(refusal({folder_ / "a.npy", "", false}), "version 9"));
}

TEST_F(TensorErrors, SafetensorsHeaders) {
  const auto tensor = [](const std::string& name, const std::string& type, const std::string& shape, Index begin,
                         Index end) {
    return fmt::format(R"("{}": {{"dtype": "{}", "shape": [{}], "data_offsets": [{}, {}]}})", name, type, shape, begin,
                       end);
  };
  const auto table = [](const std::string& entries) { return "{" + entries + "}"; };
  EXPECT_TRUE(mentions(safetensors_refusal(table(tensor("w", "F32", "2, 3", 0, 24)), "x"), "no tensor 'x'"));
  EXPECT_TRUE(mentions(safetensors_refusal(table(tensor("fc.weight", "F32", "2, 3", 0, 24)), "fc.wieght"),
                       "did you mean 'fc.weight'?"));
  EXPECT_TRUE(mentions(safetensors_refusal(table(tensor("w", "I32", "2, 3", 0, 24))), "type I32"));
  EXPECT_TRUE(mentions(safetensors_refusal(table(tensor("w", "F32", "2, 3", 0, 28))), "bytes 0 to 28"));
  EXPECT_TRUE(mentions(safetensors_refusal(table(tensor("w", "F32", "2, 3", 24, 0))), "bytes 24 to 0"));
  EXPECT_TRUE(mentions(safetensors_refusal(table(tensor("w", "F32", "2, 2", 0, 24))), "24 bytes"));
  EXPECT_TRUE(
      mentions(safetensors_refusal(table(tensor("w", "F32", "4611686018427387904, 3", 0, 24))), "4611686018427387904"));
  EXPECT_TRUE(mentions(safetensors_refusal(table(tensor("w", "F32", "9223372036854775808, 2", 0, 24))), "beyond 2^62"));
  EXPECT_TRUE(
      mentions(safetensors_refusal(table(tensor("w", "F32", "2, 2", 0, 16) + "," + tensor("v", "F32", "3", 12, 24))),
               "overlap"));
  EXPECT_TRUE(mentions(
      safetensors_refusal(table(tensor("w", "F32", "2, 2", 0, 16) + "," + tensor("v", "F32", "3", 16, 1 << 30))),
      "'v' claims"));
  EXPECT_TRUE(
      mentions(safetensors_refusal(table(tensor("w", "F32", "2, 3", 0, 24) + "," + tensor("w", "F32", "2, 3", 0, 24))),
               "twice"));
  for (const char* header :
       {"", "[]", "{", "null", "{\"w\": 3}", "{\"w\": {}}", "{\"w\": {\"dtype\": \"F32\"}}",
        R"({"w": {"dtype": 3, "shape": [2, 3], "data_offsets": [0, 24]}})",
        R"({"w": {"dtype": "F32F32F32F32F32F32", "shape": [2, 3], "data_offsets": [0, 24]}})",
        R"({"w": {"dtype": "F32", "shape": [2, -3], "data_offsets": [0, 24]}})",
        R"({"w": {"dtype": "F32", "shape": [2, 3.0], "data_offsets": [0, 24]}})",
        R"({"w": {"dtype": "F32", "shape": [[2, 3]], "data_offsets": [0, 24]}})",
        R"({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 12, 24]}})",
        R"({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0]}})",
        R"({"w": {"dtype": "F32", "shape": {"a": 2}, "data_offsets": [0, 24]}})", R"({"__metadata__": {"a": [1]}})"})
    EXPECT_TRUE(mentions(safetensors_refusal(header), "its header")) << header;
  const std::string deep(1000000, '[');
  EXPECT_TRUE(mentions(safetensors_refusal("{\"w\": " + deep), "its header"));
  EXPECT_TRUE(mentions(safetensors_refusal("{\"w\": {\"shape\": " + deep), "its header"));
  test::write_text(folder_ / "a.safetensors", std::string(8, '\xff') + "{}");
  EXPECT_TRUE(mentions(refusal({folder_ / "a.safetensors", "w", false}), "claims a header of 18446744073709551615"));
  test::write_safetensors(folder_ / "a.safetensors", {{"w", "f4", {2, 3}, numbers(6)}});
  EXPECT_TRUE(mentions(refusal({folder_ / "a.safetensors", "w", true}), "bfloat16"));
}

TEST_F(TensorErrors, MetadataMayHoldAnyText) {
  const std::string metadata = R"("__metadata__": {"dtype": "F32", "shape": "x", "format": "pt"})";
  test::write_safetensors(folder_ / "a.safetensors",
                          "{" + metadata + R"(, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}})",
                          test::packed("f4", numbers(6)));
  EXPECT_EQ(open_tensor({folder_ / "a.safetensors", "w", false})->shape(), (Shape{2, 3}));
}

TEST_F(TensorErrors, Hdf5Datasets) {
  test::write_dataset(folder_ / "a.h5", "w", {2, 3}, numbers(6));
  test::write_dataset(folder_ / "a.h5", "integers", {2, 3}, std::vector<std::int32_t>(6));
  test::write_dataset(folder_ / "a.h5", "words", {2, 3}, std::vector<std::uint16_t>(6));
  EXPECT_TRUE(mentions(refusal({folder_ / "a.h5", "", false}), "'tensor'"));
  EXPECT_TRUE(mentions(refusal({folder_ / "a.h5", "v", false}), "'v'"));
  EXPECT_TRUE(mentions(refusal({folder_ / "a.h5", "integers", false}), "floating-point"));
  EXPECT_TRUE(mentions(refusal({folder_ / "a.h5", "integers", true}), "16-bit"));
  EXPECT_TRUE(mentions(refusal({folder_ / "a.h5", "words", false}), "\"dtype\""));
  EXPECT_TRUE(mentions(refusal({folder_ / "a.h5", "w", true}), "16-bit"));
}

TEST(WeightSource, NamesTheWeightThatIsNotFinite) {
  const test::TempFolder folder;
  std::vector<float> values = numbers(12);
  values[7] = std::nanf("");
  test::write_safetensors(folder / "a.safetensors", {{"w", "f4", {3, 4}, values}});
  const TensorLocation location{folder / "a.safetensors", "w", false};
  const auto read = [&](bool is_transposed) {
    return input_error([&] {
      static_cast<void>(net::read_all(weight_source(location, {3, 4}, is_transposed, 4)));
    });
  };
  EXPECT_TRUE(mentions(read(false), "a.safetensors:w holds nan for neuron 1, input 3"));
  EXPECT_TRUE(mentions(read(true), "a.safetensors:w holds nan for neuron 3, input 1"));
}

TEST(WeightSource, IsOpenUntilItIsReleased) {
  const test::TempFolder folder;
  const std::filesystem::path file = folder / "a.npy";
  test::write_npy(file, test::npy_header("<f4", {3, 4}), test::packed("f4", numbers(12)));
  const auto is_open = [&] {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code code;
      if (std::filesystem::read_symlink(entry.path(), code) == std::filesystem::canonical(file)) return true;
    }
    return false;
  };
  for (const bool is_transposed : {false, true}) {
    const net::TensorSource source = weight_source({file, "", false}, {3, 4}, is_transposed, 4);
    std::vector<float> first(static_cast<std::size_t>(source.shape[1]));
    source.read_rows(0, 1, first.data());
    EXPECT_TRUE(is_open());
    source.release();
    EXPECT_FALSE(is_open());
    std::vector<float> again(first.size());
    source.read_rows(0, 1, again.data());
    EXPECT_EQ(again, first);
  }
}

TEST(WeightSource, AFileThatChangedIsRefused) {
  const test::TempFolder folder;
  test::write_npy(folder / "a.npy", test::npy_header("<f4", {3, 4}), test::packed("f4", numbers(12)));
  const net::TensorSource source = weight_source({folder / "a.npy", "", false}, {3, 4}, false, 4);
  EXPECT_EQ(net::read_all(source), numbers(12));
  test::write_npy(folder / "a.npy", test::npy_header("<f4", {3, 5}), test::packed("f4", numbers(15)));
  EXPECT_TRUE(mentions(input_error([&] { static_cast<void>(net::read_all(source)); }), "has shape 3x5 now"));
}

// Every float16 against its definition: (−1)^s 2^(e−15) (1 + f/1024), subnormals 2^−14 f/1024.
TEST(NumberFormats, EveryFloat16) {
  const test::TempFolder folder;
  std::string data;
  for (int bits = 0; bits < 65536; ++bits) {
    data += static_cast<char>(bits & 255);
    data += static_cast<char>(bits >> 8);
  }
  test::write_npy(folder / "a.npy", test::npy_header("<f2", {256, 256}), data);
  std::vector<float> found(65536);
  open_tensor({folder / "a.npy", "", false})->read_rows(0, 256, found.data());
  for (int bits = 0; bits < 65536; ++bits) {
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    const float value = found[static_cast<std::size_t>(bits)];
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), fraction != 0) << bits;
      EXPECT_EQ(std::isinf(value), fraction == 0) << bits;
      continue;
    }
    const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    EXPECT_EQ(value, static_cast<float>((bits >> 15 != 0 ? -1 : 1) * magnitude)) << bits;
  }
}

}  // namespace
}  // namespace gpfq::formats
