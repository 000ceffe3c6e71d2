// SPDX-License-Identifier: Apache-2.0
// SHA-256 of codes and activations: what proves that two runs gave the same result.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq {

/// A SHA-256 in progress.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(const void* data, Index bytes);
  /// The digest as 64 lower-case hexadecimal digits; the object is spent afterwards.
  [[nodiscard]] std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Digest of one piece of memory.
[[nodiscard]] std::string sha256(const void* data, Index bytes);

/// Digest of a list of digests, in order: independent of who computed which.
[[nodiscard]] std::string sha256_of_digests(const std::vector<std::string>& digests);

}  // namespace gpfq
