#include "server/rpc/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <string>

#include "absl/time/clock.h"

namespace lazynorm {
namespace {

using testing::HasSubstr;

struct Made {
  std::string cert, key;
};

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const auto size = BIO_get_mem_data(bio, &data);
  std::string text(data, size);
  BIO_free(bio);
  return text;
}

// A certificate that is its own authority, for so long.
Made Make(absl::Duration time) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* cert = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert), absl::ToInt64Seconds(time));
  X509_set_pubkey(cert, key);
  X509_sign(cert, key, EVP_sha256());
  BIO* cert_bio = BIO_new(BIO_s_mem());
  BIO* key_bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(cert_bio, cert);
  PEM_write_bio_PrivateKey(key_bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  X509_free(cert);
  EVP_PKEY_free(key);
  return {TextOf(cert_bio), TextOf(key_bio)};
}

void ExpectRefused(const TlsFiles& files, const std::string& what) {
  const auto end = CheckTlsFiles(files);
  EXPECT_EQ(end.status().code(), absl::StatusCode::kInvalidArgument) << what;
  EXPECT_THAT(std::string(end.status().message()), HasSubstr(what));
}

TEST(TlsTest, TheEndIsThatOfTheCertificateThatEndsFirst) {
  const Made server = Make(absl::Hours(48)), authority = Make(absl::Hours(24));
  const auto alone = CheckTlsFiles({.cert = server.cert, .key = server.key, .client_ca = ""});
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_LT(absl::AbsDuration(*alone - absl::Now() - absl::Hours(48)), absl::Minutes(1));
  const auto chain = CheckTlsFiles(
      {.cert = server.cert + authority.cert, .key = server.key, .client_ca = authority.cert});
  ASSERT_TRUE(chain.ok()) << chain.status();
  EXPECT_LT(absl::AbsDuration(*chain - absl::Now() - absl::Hours(24)), absl::Minutes(1));
}

TEST(TlsTest, WhatCannotBeServedWithIsNamed) {
  const Made a = Make(absl::Hours(1)), b = Make(absl::Hours(1));
  ExpectRefused({.cert = "", .key = a.key, .client_ca = ""}, "--tls_cert: expected");
  ExpectRefused({.cert = "no PEM", .key = a.key, .client_ca = ""}, "--tls_cert: expected");
  ExpectRefused({.cert = a.cert.substr(0, a.cert.size() / 2), .key = a.key, .client_ca = ""},
                "--tls_cert: expected");
  std::string torn = a.cert + a.cert;
  torn.resize(torn.size() - 40);
  ExpectRefused({.cert = torn, .key = a.key, .client_ca = ""}, "--tls_cert: expected");
  ExpectRefused({.cert = a.cert, .key = "no PEM", .client_ca = ""}, "--tls_key: expected");
  ExpectRefused({.cert = a.cert, .key = b.key, .client_ca = ""}, "got another");
  ExpectRefused({.cert = a.cert, .key = a.key, .client_ca = "no PEM"}, "--tls_client_ca: expected");
}

TEST(TlsTest, AKeyWithAPasswordIsRefusedAndNobodyAsked) {
  const Made a = Make(absl::Hours(1));
  BIO* in = BIO_new_mem_buf(a.key.data(), static_cast<int>(a.key.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(in, nullptr, nullptr, nullptr);
  BIO_free(in);
  BIO* out = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(out, key, EVP_aes_256_cbc(), nullptr, 0, nullptr,
                           const_cast<char*>("password"));
  EVP_PKEY_free(key);
  ExpectRefused({.cert = a.cert, .key = TextOf(out), .client_ca = ""}, "not encrypted");
}

}  // namespace
}  // namespace lazynorm
