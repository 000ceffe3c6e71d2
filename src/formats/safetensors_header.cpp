// SPDX-License-Identifier: Apache-2.0
// Parsing event by event, so that a hostile header cannot make more of itself than its text.
#include "formats/safetensors_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "gpfq/base/error.hpp"

namespace gpfq::formats {
namespace {

using Json = nlohmann::json;
constexpr Index largest_header = 100'000'000;
constexpr Index length_bytes = 8;
constexpr std::size_t most_extents = 32;
constexpr std::size_t longest_type = 16;
constexpr std::uint64_t largest_number = std::uint64_t{1} << 62;

/// The form is fixed: { name: { "dtype": text, "shape": [numbers], "data_offsets": [begin, end] } } and a table of
/// texts "__metadata__". Depth 1 is the file's table, 2 a tensor's, 3 a list in it.
class HeaderEvents : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderEvents(std::map<std::string, SafetensorsEntry>& tensors) : tensors_(tensors) {}
  [[nodiscard]] const std::string& problem() const { return problem_; }

  bool start_object(std::size_t) override {
    if (++depth_ > 2) return bad("a table inside of a tensor's");
    return true;
  }
  bool end_object() override {
    --depth_;
    if (depth_ != 1 || is_metadata_) return true;
    if (entry_->type.empty() || !has_shape_ || offsets_.size() != 2)
      return bad("no dtype, shape and data_offsets [begin, end]");
    entry_->begin = offsets_[0];
    entry_->end = offsets_[1];
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ != 1) return field_ = name, true;
    name_ = name;
    is_metadata_ = name == "__metadata__";
    if (is_metadata_) return true;
    const auto [at, is_new] = tensors_.emplace(name, SafetensorsEntry());
    entry_ = &at->second;
    offsets_.clear();
    has_shape_ = false;
    return is_new ? true : bad("the name twice");
  }
  bool start_array(std::size_t) override {
    const bool is_known = depth_ == 2 && !is_metadata_ && (field_ == "shape" || field_ == "data_offsets");
    if (!is_known) return bad("a list where none belongs");
    ++depth_;
    has_shape_ = has_shape_ || field_ == "shape";
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool number_unsigned(std::uint64_t value) override {
    if (depth_ != 3) return plain();
    if (value > largest_number) return bad("a number beyond 2^62");
    std::vector<Index>& list = field_ == "shape" ? entry_->shape : offsets_;
    if (list.size() == most_extents) return bad("a list that is too long");
    list.push_back(static_cast<Index>(value));
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ != 2 || is_metadata_ || field_ != "dtype") return plain();
    entry_->type = text;
    return text.size() <= longest_type ? true : bad("a dtype that is none");
  }
  bool number_integer(Json::number_integer_t) override { return plain(); }
  bool number_float(Json::number_float_t, const string_t&) override { return plain(); }
  bool boolean(bool) override { return plain(); }
  bool null() override { return plain(); }
  bool binary(Json::binary_t&) override { return plain(); }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    problem_ = fmt::format("is not JSON at byte {}", position);
    return false;
  }

 private:
  /// A value that means nothing here: harmless in a table, not in a list of extents or instead of a table.
  bool plain() {
    const bool is_harmless = depth_ == 2 && (is_metadata_ || field_ != "dtype");
    return is_harmless ? true : bad("a value of the wrong type");
  }
  bool bad(const char* what) {
    constexpr std::size_t shown = 100;
    problem_ = fmt::format("holds {} at '{}'", what, name_.substr(0, shown));
    return false;
  }

  std::map<std::string, SafetensorsEntry>& tensors_;
  SafetensorsEntry* entry_ = nullptr;
  std::string name_;
  std::string field_;
  std::vector<Index> offsets_;
  bool has_shape_ = false;
  bool is_metadata_ = false;
  int depth_ = 0;
  std::string problem_;
};

/// Every tensor inside the data, none over another: a wrong offset shows whichever tensor is asked for.
void check_offsets(const SafetensorsHeader& header, Index data_bytes, const std::string& where) {
  std::vector<const std::pair<const std::string, SafetensorsEntry>*> order;
  for (const auto& tensor : header.tensors) {
    const SafetensorsEntry& entry = tensor.second;
    if (entry.begin > entry.end || entry.end > data_bytes)
      throw_input("{}: tensor '{}' claims bytes {} to {} of values; the file has {}", where, tensor.first, entry.begin,
                  entry.end, data_bytes);
    if (entry.begin < entry.end) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->second.begin < b->second.begin; });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (order[i]->second.begin < order[i - 1]->second.end)
      throw_input("{}: tensors '{}' and '{}' overlap, at byte {} of the values", where, order[i - 1]->first,
                  order[i]->first, order[i]->second.begin);
}

}  // namespace

SafetensorsHeader read_safetensors_header(const ByteFile& file, const std::string& where) {
  if (file.size() < length_bytes) throw_input("{} has {} bytes; a .safetensors file has more", where, file.size());
  std::array<unsigned char, length_bytes> bytes{};
  file.read(0, length_bytes, reinterpret_cast<char*>(bytes.data()));
  std::uint64_t length = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) length = length << 8U | bytes[i];
  const Index most = std::min(largest_header, file.size() - length_bytes);
  if (length > static_cast<std::uint64_t>(most))
    throw_input("{} claims a header of {} bytes; the file has {} bytes, and headers are at most {}", where, length,
                file.size(), largest_header);
  SafetensorsHeader header;
  header.data_begin = length_bytes + static_cast<Index>(length);
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read(length_bytes, static_cast<Index>(length), text.data());
  if (text.empty() || text.front() != '{') throw_input("{}: its header is not a table in JSON", where);
  HeaderEvents events(header.tensors);
  if (!Json::sax_parse(text, &events)) throw_input("{}: its header {}", where, events.problem());
  check_offsets(header, file.size() - header.data_begin, where);
  return header;
}

}  // namespace gpfq::formats
