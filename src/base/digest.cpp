// SPDX-License-Identifier: Apache-2.0
// SHA-256 by OpenSSL's libcrypto.
#include "gpfq/base/digest.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "gpfq/base/error.hpp"

namespace gpfq {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1)
    throw_fault("SHA-256 is not available in this build of OpenSSL");
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(const void* data, Index bytes) {
  if (EVP_DigestUpdate(state_->context, data, static_cast<std::size_t>(bytes)) != 1)
    throw_fault("SHA-256 update failed");
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(state_->context, bytes.data(), &length) != 1) throw_fault("SHA-256 failed");
  std::string text;
  for (unsigned int i = 0; i < length; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

std::string sha256(const void* data, Index bytes) {
  Sha256 hash;
  hash.update(data, bytes);
  return hash.finish();
}

std::string sha256_of_digests(const std::vector<std::string>& digests) {
  Sha256 hash;
  for (const std::string& digest : digests) hash.update(digest.data(), static_cast<Index>(digest.size()));
  return hash.finish();
}

}  // namespace gpfq
