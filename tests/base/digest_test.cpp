// SPDX-License-Identifier: Apache-2.0
// SHA-256 against the examples of FIPS 180-4, whole and in pieces: digests are what users compare
// between runs, so they must be the ones that every other tool computes.
#include "gpfq/base/digest.hpp"

#include <gtest/gtest.h>

namespace gpfq {
namespace {

std::string sha256_of(const std::string& text) { return sha256(text.data(), static_cast<Index>(text.size())); }

constexpr const char* digest_of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* digest_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Digest, MatchesPublishedVectors) {
  EXPECT_EQ(sha256_of(""), digest_of_nothing);
  EXPECT_EQ(sha256_of("abc"), digest_of_abc);
  EXPECT_EQ(sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_of(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, DoesNotDependOnThePieces) {
  const std::string text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    Sha256 hash;
    for (std::size_t begin = 0; begin < text.size(); begin += piece) {
      const std::string part = text.substr(begin, piece);
      hash.update(part.data(), static_cast<Index>(part.size()));
      hash.update(nullptr, 0);
    }
    EXPECT_EQ(hash.finish(), sha256_of(text)) << "pieces of " << piece;
  }
}

TEST(Digest, SurvivesAMove) {
  Sha256 hash;
  hash.update("a", 1);
  Sha256 moved = std::move(hash);
  moved.update("bc", 2);
  EXPECT_EQ(moved.finish(), digest_of_abc);
}

TEST(Digest, OfDigestsIsTheDigestOfTheirTextInOrder) {
  EXPECT_EQ(sha256_of_digests({}), digest_of_nothing);
  EXPECT_EQ(sha256_of_digests({digest_of_abc, digest_of_nothing}),
            sha256_of(std::string(digest_of_abc) + digest_of_nothing));
  EXPECT_NE(sha256_of_digests({digest_of_abc, digest_of_nothing}),
            sha256_of_digests({digest_of_nothing, digest_of_abc}));
}

}  // namespace
}  // namespace gpfq
