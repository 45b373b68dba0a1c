#ifndef LAZYNORM_TESTS_SUPPORT_TOKEN_LINE_H_
#define LAZYNORM_TESTS_SUPPORT_TOKEN_LINE_H_

#include <openssl/sha.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace lazynorm {

// A line of the tokens file for the token NAME-secret.
inline std::string TokenLine(const std::string& name, const std::string& role,
                             const std::string& models = "") {
  const std::string token = name + "-secret";
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         reinterpret_cast<unsigned char*>(hash.data()));
  return absl::StrCat(name, " ", role, " ", absl::BytesToHexString(hash), " ", models, "\n");
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_TOKEN_LINE_H_
