// SPDX-License-Identifier: Apache-2.0
// What a file holds that cannot be imported, gathered so that one message names all of it: a user
// should not learn of one operator per attempt.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace gpfq::formats {

/// Thrown by the conversion of one operator or layer: it is known, but not in this form.
class Unsupported : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class UnsupportedList {
 public:
  /// @param kind  the operator or layer class, with a reason where the kind alone says too little
  void add(const std::string& kind, const std::string& name);
  [[nodiscard]] bool empty() const { return names_.empty(); }
  /// @throws Error (input) naming everything; `noun` is "operators" or "layers".
  void throw_if_any(const std::string& noun) const;

 private:
  std::vector<std::string> kinds_;  ///< in order of appearance
  std::map<std::string, std::vector<std::string>> names_;
};

}  // namespace gpfq::formats
