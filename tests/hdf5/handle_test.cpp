// SPDX-License-Identifier: Apache-2.0
// HDF5 handles against files written here: every kind of broken file has its own message, strings
// of every kind come back, boxes land where they should.
#include "gpfq/hdf5/handle.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <numeric>

namespace gpfq::hdf5 {
namespace {

namespace fs = std::filesystem;

class Hdf5Handle : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / fmt::format("gpfq_hdf5_{}_{}", info->name(), getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  [[nodiscard]] fs::path path(const std::string& name) const { return folder_ / name; }

  [[nodiscard]] Handle create(const std::string& name) const {
    silence_error_printing();
    return {H5Fcreate(path(name).c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose};
  }

  fs::path folder_;
};

Handle create_dataset(hid_t location, const std::string& name, const Shape& shape, hid_t type = H5T_NATIVE_FLOAT) {
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  const Handle space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), H5Sclose);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.id(), 1);
  return {H5Dcreate2(location, name.c_str(), type, space.id(), links.id(), H5P_DEFAULT, H5P_DEFAULT), H5Dclose};
}

/// The message of the input error that `call` throws; a failure when it throws none.
template <class Call>
std::string input_error(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return {};
}

::testing::AssertionResult mentions(const std::string& message, const std::string& part) {
  if (message.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "'" << message << "' does not mention '" << part << "'";
}

// What a file system without locks looks like from here: the lock that HDF5 wants is not to be had.
TEST_F(Hdf5Handle, NamesTheVariableThatHelpsWhereALockIsRefused) {
  { const Handle file = create("locked.h5"); }
  const int holder = ::open(path("locked.h5").c_str(), O_RDWR);
  ASSERT_GE(holder, 0);
  ASSERT_EQ(::flock(holder, LOCK_EX), 0);
  const std::string message = input_error([&] { static_cast<void>(open_file(path("locked.h5"))); });
  EXPECT_TRUE(mentions(message, "locked.h5"));
  EXPECT_TRUE(mentions(message, "cannot be locked"));
  EXPECT_TRUE(mentions(message, "HDF5_USE_FILE_LOCKING=FALSE"));
  ::close(holder);
}

TEST_F(Hdf5Handle, OwnsAndMoves) {
  Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const hid_t id = space.id();
  Handle other = std::move(space);
  EXPECT_FALSE(space);  // NOLINT: the moved-from state is the point
  EXPECT_EQ(other.id(), id);
  Handle third(H5Screate(H5S_SCALAR), H5Sclose);
  const hid_t replaced = third.id();
  third = std::move(other);
  EXPECT_EQ(third.id(), id);
  EXPECT_LE(H5Iis_valid(replaced), 0);
  third.reset();
  EXPECT_LE(H5Iis_valid(id), 0);
  EXPECT_FALSE(third);
}

TEST_F(Hdf5Handle, CloseReportsFailure) {
  silence_error_printing();
  Handle wrong(H5Screate(H5S_SCALAR), H5Fclose);  // a dataspace is not closed as a file
  const hid_t id = wrong.id();
  EXPECT_TRUE(mentions(input_error([&] { close(wrong, ErrorKind::input, "store x.h5"); }), "store x.h5 (HDF5: "));
  EXPECT_FALSE(wrong);
  H5Sclose(id);
}

TEST_F(Hdf5Handle, OpenNamesWhatIsWrong) {
  EXPECT_TRUE(mentions(input_error([&] { (void)open_file(path("none.h5")); }), "none.h5' does not exist"));
  EXPECT_TRUE(mentions(input_error([&] { (void)open_file(folder_); }), "is a folder"));
  std::ofstream(path("text.h5")) << "these are not the bytes";
  EXPECT_TRUE(mentions(input_error([&] { (void)open_file(path("text.h5")); }), "(23 bytes) is not an HDF5 file"));
  std::ofstream(path("empty.h5")).flush();
  EXPECT_TRUE(mentions(input_error([&] { (void)open_file(path("empty.h5")); }), "(0 bytes) is not an HDF5 file"));
  EXPECT_TRUE(mentions(input_error([&] { (void)open_file("/dev/null"); }), "not a regular file"));
}

TEST_F(Hdf5Handle, OpenNamesTruncation) {
  {
    const Handle file = create("cut.h5");
    const Handle dataset = create_dataset(file.id(), "x", {1000});
    const std::vector<float> values(1000, 1.0F);
    write_box(dataset.id(), H5T_NATIVE_FLOAT, {0}, {1000}, values.data(), "x");
  }
  EXPECT_TRUE(is_hdf5(path("cut.h5")));
  EXPECT_TRUE(open_file(path("cut.h5")));
  fs::resize_file(path("cut.h5"), fs::file_size(path("cut.h5")) / 2);
  EXPECT_TRUE(mentions(input_error([&] { (void)open_file(path("cut.h5")); }), "is truncated"));
}

TEST_F(Hdf5Handle, IsHdf5NeedsTheSignature) {
  std::ofstream(path("text")) << "no";
  EXPECT_FALSE(is_hdf5(path("text")));
  EXPECT_FALSE(is_hdf5(path("missing")));
  EXPECT_FALSE(is_hdf5(folder_));
}

TEST_F(Hdf5Handle, LinksAreCheckedPartByPart) {
  const Handle file = create("links.h5");
  (void)create_dataset(file.id(), "a/b/c", {1});
  (void)create_dataset(file.id(), "a/d", {1});
  for (const char* name : {"a", "a/b", "a/b/c", "/a/b/c", "/", "a//b", "a/b/"}) {
    EXPECT_TRUE(link_exists(file.id(), name)) << name;
  }
  for (const char* name : {"x", "x/y/z", "a/x/c", "a/d/e", ""}) EXPECT_FALSE(link_exists(file.id(), name)) << name;
  EXPECT_EQ(link_names(file.id(), "a"), (std::vector<std::string>{"b", "d"}));
  EXPECT_EQ(link_names(file.id(), "/"), (std::vector<std::string>{"a"}));
  EXPECT_TRUE(mentions(input_error([&] { (void)link_names(file.id(), "q"); }), "'q'"));
}

TEST_F(Hdf5Handle, MissingDatasetNamesItsNeighbours) {
  const Handle file = create("some.h5");
  (void)create_dataset(file.id(), "train/images", {1});
  (void)create_dataset(file.id(), "train/labels", {1});
  const auto open = [&](const std::string& name) {
    return input_error([&] { (void)open_dataset(file.id(), name, "some.h5"); });
  };
  const std::string message = open("train/image");
  EXPECT_TRUE(mentions(message, "some.h5: there is no dataset 'train/image'"));
  EXPECT_TRUE(mentions(message, "'train' holds images, labels"));
  EXPECT_TRUE(mentions(open("test/images"), "the group holds train"));
  EXPECT_TRUE(mentions(open("train/images/deeper"), "'train/images' is no group"));
  EXPECT_TRUE(mentions(open("train"), "cannot be opened as a dataset"));
  EXPECT_TRUE(mentions(input_error([&] { (void)open_group(file.id(), "train/images", "some.h5"); }),
                       "cannot be opened as a group"));
}

TEST_F(Hdf5Handle, OtherFilesAreNotFollowed) {
  { (void)create_dataset(create("secret.h5").id(), "x", {1}); }
  const Handle file = create("links.h5");
  H5Lcreate_external(path("secret.h5").c_str(), "x", file.id(), "away", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_external(path("secret.h5").c_str(), "/", file.id(), "group", H5P_DEFAULT, H5P_DEFAULT);
  EXPECT_TRUE(mentions(input_error([&] { (void)open_dataset(file.id(), "away", "links.h5"); }), "'away'"));
  EXPECT_TRUE(mentions(input_error([&] { (void)open_dataset(file.id(), "group/x", "links.h5"); }), "'group/x'"));
  EXPECT_FALSE(link_exists(file.id(), "group/x"));

  std::ofstream(path("raw.bin")) << "12345678";
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_external(creation.id(), path("raw.bin").c_str(), 0, 8);
  const hsize_t extent = 2;
  const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  const Handle outside(
      H5Dcreate2(file.id(), "outside", H5T_NATIVE_FLOAT, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT),
      H5Dclose);
  ASSERT_TRUE(outside);
  EXPECT_TRUE(mentions(input_error([&] { (void)open_dataset(file.id(), "outside", "links.h5"); }),
                       "keeps its values in other files"));
}

TEST_F(Hdf5Handle, DatasetInfoReadsTheHeader) {
  const Handle file = create("info.h5");
  const Handle dataset = create_dataset(file.id(), "x", {3, 0, 5}, H5T_STD_U8BE);
  const DatasetInfo info = dataset_info(dataset.id(), "info.h5");
  EXPECT_EQ(info.shape, (Shape{3, 0, 5}));
  EXPECT_EQ(info.type_class, H5T_INTEGER);
  EXPECT_EQ(info.element_bytes, 1);
  const Handle nothing(H5Screate(H5S_NULL), H5Sclose);
  const Handle null(H5Dcreate2(file.id(), "n", H5T_NATIVE_FLOAT, nothing.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                    H5Dclose);
  EXPECT_EQ(dataset_info(null.id(), "info.h5").shape, Shape{0});
  // A header may claim what no memory holds; the stored bytes say what is there.
  const Handle huge = create_dataset(file.id(), "huge", {Index{1} << 40});
  EXPECT_EQ(dataset_info(huge.id(), "info.h5").shape, Shape{Index{1} << 40});
  EXPECT_EQ(dataset_info(huge.id(), "info.h5").stored_bytes, 0);
  const Handle written = create_dataset(file.id(), "written", {3});
  const std::array<float, 3> values{1, 2, 3};
  write_box(written.id(), H5T_NATIVE_FLOAT, {0}, {3}, values.data(), "written");
  EXPECT_EQ(dataset_info(written.id(), "info.h5").stored_bytes, 12);
}

/// The file with `bytes` written over what is `offset` bytes behind the first `mark`.
void overwrite(const fs::path& file, const std::string& mark, std::size_t offset, const std::string& bytes) {
  std::ifstream in(file, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const std::size_t at = text.find(mark);
  ASSERT_NE(at, std::string::npos);
  text.replace(at + offset, bytes.size(), bytes);
  std::ofstream(file, std::ios::binary) << text;
}

TEST_F(Hdf5Handle, HeapsWithWrongSizesAreRefused) {
  const auto write = [&](const std::string& name) {
    const Handle file = create(name);
    write_string_attribute(file.id(), "long", std::string(100000, 'a'));  // lies in a global heap
    return path(name);
  };
  EXPECT_NO_THROW(check_heaps(write("whole.h5")));
  const std::string zeros(8, '\0');
  const std::string ones(8, '\xff');
  const auto refused = [&](const char* mark, std::size_t offset, const std::string& bytes) {
    const fs::path file = write("damaged.h5");
    overwrite(file, mark, offset, bytes);
    EXPECT_TRUE(mentions(input_error([&] { check_heaps(file); }), "is damaged: the heap at byte"));
  };
  refused("GCOL", 8, ones);   // the collection is larger than the file
  refused("GCOL", 24, ones);  // its first object is larger than the collection
  refused("GCOL", 24, std::string("\x00\x00\x01\x00\x00\x00\x00\x7f", 8));
  refused("GCOL", 16,
          std::string(2, '\0') + std::string(6, '\0') + zeros);            // free space of no size: HDF5 would not end
  refused("HEAP", 8, std::string("\x00\x00\x00\x00\x58\x00\x00\x00", 8));  // names of 378 GB
  refused("HEAP", 16, std::string("\x4c\0\0\0\0\0\0\0", 8));               // free space that ends behind the names
}

TEST_F(Hdf5Handle, AttributesWithWrongSizesAreRefused) {
  const std::string text(100000, 'a');
  const auto write = [&] {
    const Handle file = create("attributes.h5");
    write_string_attribute(file.id(), "long", text);
    write_string_attribute(file.id(), "short", "b");
    return path("attributes.h5");
  };
  const auto read = [](const fs::path& file, const char* name) {
    return read_string_attribute(open_file(file).id(), name, "attributes.h5");
  };
  EXPECT_EQ(read(write(), "long"), text);
  EXPECT_EQ(read(write(), "short"), "b");
  const auto refused = [&](const std::string& mark, std::size_t offset, const std::string& bytes, const char* name) {
    const fs::path file = write();
    overwrite(file, mark, offset, bytes);
    EXPECT_TRUE(mentions(input_error([&] { (void)read(file, name); }), "claims sizes that do not fit"));
  };
  const std::string reference("\xa0\x86\x01\0", 4);                   // 100000, then address and number
  refused(reference, 12, std::string("\xff\x7f\0\0", 4), "long");     // no such object in the collection
  refused(reference, 0, std::string("\x05\0\0\0", 4), "long");        // room for 5 bytes of 100000
  refused(reference, 0, std::string("\xff\xff\xff\x7f", 4), "long");  // 2 GiB
  const std::string type = std::string("short\0\0\0", 8) + "\x13";    // a name, padded, and a string's type
  refused(type, 8 + 4, std::string("\xff\x7f\0\0", 4), "short");      // of 32767 bytes
}

TEST_F(Hdf5Handle, FreeBlocksThatGoRoundAreRefused) {
  const fs::path file = path("round.h5");
  {
    const Handle whole = create("round.h5");
    write_string_attribute(whole.id(), "a", "b");
  }
  EXPECT_NO_THROW(check_heaps(file));
  // The names of the root group lie behind the header of their heap: "", then one free block.
  overwrite(file, "HEAP", 32 + 8, std::string("\x08\0\0\0\0\0\0\0", 8));
  EXPECT_TRUE(mentions(input_error([&] { check_heaps(file); }), "is damaged: the heap at byte"));
}

TEST_F(Hdf5Handle, AHeapThatIsNoLongerUsedMayStandInAFile) {
  const Handle file = create("rest.h5");
  std::string rest("HEAP\0\0\0\0", 8);
  for (const std::uint64_t number : {0x4000, 0x3000, 0x7fffffff}) {  // names that were behind what is now the end
    for (int byte = 0; byte < 8; ++byte) rest.push_back(static_cast<char>(number >> (8 * byte)));
  }
  const Handle dataset = create_dataset(file.id(), "rest", {static_cast<Index>(rest.size())}, H5T_NATIVE_UINT8);
  ASSERT_GE(H5Dwrite(dataset.id(), H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, rest.data()), 0);
  H5Fflush(file.id(), H5F_SCOPE_GLOBAL);
  EXPECT_NO_THROW(check_heaps(path("rest.h5")));
}

TEST_F(Hdf5Handle, AMessageAboutAMissingGroupEndsWithoutAnyGroup) {
  const Handle dataset = [&] {
    const Handle other = create("data.h5");
    return create_dataset(other.id(), "x", {2});
  }();
  // A location that has no groups at all: the message ends, whatever is asked for.
  EXPECT_TRUE(mentions(input_error([&] { (void)open_group(dataset.id(), "layers", "data.h5"); }),
                       "there is no group 'layers'; '.' is no group"));
  EXPECT_TRUE(mentions(input_error([&] { (void)link_names(dataset.id(), "layers"); }), "'.' is no group"));
}

TEST_F(Hdf5Handle, ClaimsOfDatasetsAreHeldAgainstTheFile) {
  const Handle file = create("claims.h5");
  const auto refusal = [&](const Handle& dataset) {
    return input_error([&] { require_numbers(dataset.id(), dataset_info(dataset.id(), "claims.h5"), "claims.h5:x"); });
  };
  EXPECT_TRUE(mentions(refusal(create_dataset(file.id(), "huge", {Index{1} << 40})), "claims 1099511627776 values"));
  EXPECT_TRUE(mentions(refusal(create_dataset(file.id(), "text", {2}, H5T_C_S1)), "does not hold numbers"));
  const Handle wide(H5Tcopy(H5T_NATIVE_INT), H5Tclose);
  ASSERT_GE(H5Tset_size(wide.id(), 64), 0);
  EXPECT_TRUE(mentions(refusal(create_dataset(file.id(), "wide", {2}, wide.id())), "numbers of 64 bytes"));
  const auto chunked = [&](const char* name, hsize_t chunk) {
    const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(creation.id(), 1, &chunk);
    const hsize_t extent = 8;
    const hsize_t most = H5S_UNLIMITED;
    const Handle space(H5Screate_simple(1, &extent, &most), H5Sclose);
    return Handle(H5Dcreate2(file.id(), name, H5T_NATIVE_FLOAT, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT),
                  H5Dclose);
  };
  EXPECT_TRUE(mentions(refusal(chunked("chunks", hsize_t{1} << 29)), "claims chunks of 2147483648 bytes"));
  const Handle fine = chunked("fine", 4);
  EXPECT_NO_THROW(require_numbers(fine.id(), dataset_info(fine.id(), "claims.h5"), "claims.h5:fine"));
  const Handle unwritten = create_dataset(file.id(), "unwritten", {3});
  EXPECT_NO_THROW(require_numbers(unwritten.id(), dataset_info(unwritten.id(), "claims.h5"), "claims.h5:unwritten"));
}

TEST_F(Hdf5Handle, BoxesRoundTrip) {
  const Handle file = create("box.h5");
  const Handle dataset = create_dataset(file.id(), "x", {4, 5});
  std::vector<float> all(20);
  std::iota(all.begin(), all.end(), 0.0F);
  write_box(dataset.id(), H5T_NATIVE_FLOAT, {0, 0}, {4, 5}, all.data(), "x");
  const std::array<double, 2> patch{-1.0, -2.0};  // another type in memory: HDF5 converts
  write_box(dataset.id(), H5T_NATIVE_DOUBLE, {2, 3}, {1, 2}, patch.data(), "x");
  write_box(dataset.id(), H5T_NATIVE_FLOAT, {0, 0}, {0, 5}, nullptr, "x");

  std::vector<float> box(4, 0.0F);
  read_box(dataset.id(), H5T_NATIVE_FLOAT, {1, 3}, {2, 2}, box.data(), "x");
  EXPECT_EQ(box, (std::vector<float>{8, 9, -1, -2}));
  read_box(dataset.id(), H5T_NATIVE_FLOAT, {4, 5}, {0, 0}, nullptr, "x");
  EXPECT_THROW(read_box(dataset.id(), H5T_NATIVE_FLOAT, {3, 0}, {2, 5}, box.data(), "x"), Error);
  EXPECT_THROW(read_box(dataset.id(), H5T_NATIVE_FLOAT, {-1, 0}, {1, 1}, box.data(), "x"), Error);
  EXPECT_THROW(read_box(dataset.id(), H5T_NATIVE_FLOAT, {0}, {1}, box.data(), "x"), Error);
  const Handle text(H5Tcopy(H5T_C_S1), H5Tclose);
  EXPECT_TRUE(mentions(input_error([&] {
                         read_box(dataset.id(), text.id(), {0, 0}, {1, 1}, box.data(), "dataset 'x'");
                       }),
                       "dataset 'x' cannot be read (HDF5: "));
}

TEST_F(Hdf5Handle, ScalarDatasetIsABoxWithoutDimensions) {
  const Handle file = create("scalar.h5");
  const Handle dataset = create_dataset(file.id(), "s", {});
  const float written = 2.5F;
  write_box(dataset.id(), H5T_NATIVE_FLOAT, {}, {}, &written, "s");
  float value = 0.0F;
  read_box(dataset.id(), H5T_NATIVE_FLOAT, {}, {}, &value, "s");
  EXPECT_EQ(value, 2.5F);
}

TEST_F(Hdf5Handle, StringAttributesShortLongAndReplaced) {
  const Handle file = create("text.h5");
  const std::string heavy(300000, 'w');  // beyond an object header's 64 KiB
  for (const std::string& value : {std::string(), std::string("γ = ½"), std::string(59999, 'a'), heavy}) {
    write_string_attribute(file.id(), "text", value);
    EXPECT_EQ(read_string_attribute(file.id(), "text", "text.h5"), value);
  }
  EXPECT_TRUE(has_attribute(file.id(), "text"));
  EXPECT_FALSE(has_attribute(file.id(), "none"));
  EXPECT_TRUE(mentions(input_error([&] { (void)read_string_attribute(file.id(), "none", "text.h5"); }),
                       "text.h5: attribute 'none' is missing"));
}

/// Writes `bytes` as `count` strings of `type`; how other tools store their text.
void write_strings(hid_t location, const char* name, hid_t type, hsize_t count, const void* bytes) {
  const Handle space(H5Screate_simple(1, &count, nullptr), H5Sclose);
  const Handle attribute(H5Acreate2(location, name, type, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  ASSERT_TRUE(attribute);
  if (count > 0) {
    ASSERT_GE(H5Awrite(attribute.id(), type, bytes), 0);
  }
}

TEST_F(Hdf5Handle, StringListsOfEveryKind) {
  const Handle file = create("lists.h5");
  const auto list = [&](const char* name) { return read_string_list_attribute(file.id(), name, "lists.h5"); };
  const Handle fixed(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(fixed.id(), 4);
  for (const auto& [padding, bytes] :
       {std::pair{H5T_STR_NULLPAD, "abcdxy\0\0"}, std::pair{H5T_STR_SPACEPAD, "abcdxy  "}}) {
    H5Tset_strpad(fixed.id(), padding);
    const std::string name = fmt::format("padding{}", static_cast<int>(padding));
    write_strings(file.id(), name.c_str(), fixed.id(), 2, bytes);
    EXPECT_EQ(list(name.c_str()), (std::vector<std::string>{"abcd", "xy"}));
  }
  const Handle variable(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(variable.id(), H5T_VARIABLE);
  H5Tset_cset(variable.id(), H5T_CSET_UTF8);
  const std::array<const char*, 3> texts{"kernel", "", "größe"};
  write_strings(file.id(), "variable", variable.id(), 3, texts.data());
  EXPECT_EQ(list("variable"), (std::vector<std::string>{"kernel", "", "größe"}));
  EXPECT_TRUE(mentions(input_error([&] { (void)read_string_attribute(file.id(), "variable", "lists.h5"); }),
                       "holds 3 strings; expected one"));
  write_strings(file.id(), "empty", H5T_NATIVE_DOUBLE, 0, nullptr);  // an empty list as h5py writes it
  EXPECT_TRUE(list("empty").empty());
  write_integer_attribute(file.id(), "number", 7);
  EXPECT_TRUE(mentions(input_error([&] { (void)list("number"); }), "holds no strings"));
}

TEST_F(Hdf5Handle, IntegerAttributes) {
  const Handle file = create("numbers.h5");
  write_integer_attribute(file.id(), "big", Index{1} << 40);
  write_integer_attribute(file.id(), "big", -(Index{1} << 41));
  EXPECT_EQ(read_integer_attribute(file.id(), "big", "numbers.h5"), -(Index{1} << 41));
  write_string_attribute(file.id(), "text", "7");
  EXPECT_TRUE(mentions(input_error([&] { (void)read_integer_attribute(file.id(), "text", "numbers.h5"); }),
                       "is not one integer"));
}

}  // namespace
}  // namespace gpfq::hdf5
