#include "server/formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/errors.h"

namespace lazynorm {
namespace {

using testing::HasSubstr;

std::string File(const std::string& header, const std::string& data,
                 std::optional<uint64_t> length = std::nullopt) {
  const uint64_t size = length.value_or(header.size());
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + header + data;
}

// An entry of the header.
std::string Entry(const std::string& name, const std::string& shape, int begin, int end,
                  const std::string& dtype = "F32") {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape,
                      ",\"data_offsets\":[", begin, ",", end, "]}");
}

// A header of these entries.
template <class... Entries>
std::string Header(const Entries&... entries) {
  std::vector<std::string> all = {entries...};
  return absl::StrCat("{", absl::StrJoin(all, ","), "}");
}

// What is said of a file that is refused; "" for one that is not.
std::string Fault(const std::string& bytes) {
  const absl::Status status = FromSafetensors(bytes).status();
  if (status.ok()) return "";
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), "INVALID_STATE");
  EXPECT_EQ(FieldOf(status), "data");
  return std::string(status.message());
}

Safetensors Sample() {
  return {.metadata = {{"format", "pt"}, {"note", "\"quoted\" \u00e4"}},
          .tensors = {{"0.weight", {2, 2}, {1.5f, -0.0f, 1e-45f, NAN}, {}},
                      {"1.num_batches_tracked", {}, {}, {-9007199254740993}},
                      {"1.running_mean", {2}, {3.4028235e38f, INFINITY}, {}},
                      {"empty", {0, 3}, {}, {}}}};
}

TEST(SafetensorsTest, WhatWasWrittenIsReadBackBitForBit) {
  const Safetensors sample = Sample();
  const auto read = FromSafetensors(ToSafetensors(sample));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->metadata, sample.metadata);
  ASSERT_EQ(read->tensors.size(), sample.tensors.size());
  for (const StateTensor& expected : sample.tensors) {
    const auto found =
        std::find_if(read->tensors.begin(), read->tensors.end(),
                     [&](const auto& tensor) { return tensor.name == expected.name; });
    ASSERT_NE(found, read->tensors.end()) << expected.name;
    EXPECT_EQ(found->shape, expected.shape);
    EXPECT_EQ(found->int64_values, expected.int64_values);
    ASSERT_EQ(found->values.size(), expected.values.size());
    if (expected.values.empty()) continue;
    EXPECT_EQ(std::memcmp(found->values.data(), expected.values.data(),
                          expected.values.size() * sizeof(float)),
              0);
  }
}

TEST(SafetensorsTest, TheLayoutIsTheFormats) {
  const std::string bytes = ToSafetensors(
      {.metadata = {{"format", "pt"}}, .tensors = {{"w", {1, 2}, {1, 2}, {}}, {"n", {}, {}, {7}}}});
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  EXPECT_EQ(length % 8, 0);
  std::string header = bytes.substr(8, length);
  header.erase(header.find_last_not_of(' ') + 1);
  EXPECT_EQ(header,
            "{\"__metadata__\":{\"format\":\"pt\"},"
            "\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
            "\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]}}");
  EXPECT_EQ(bytes.substr(8 + length), std::string("\7\0\0\0\0\0\0\0\0\0\x80\x3F\0\0\0\x40", 16));
}

TEST(SafetensorsTest, AHeaderThatIsNoneIsRefused) {
  EXPECT_THAT(Fault(""), HasSubstr("at least 8 bytes"));
  EXPECT_THAT(Fault("1234567"), HasSubstr("at least 8 bytes"));
  EXPECT_THAT(Fault(File("{}", "", 3)), HasSubstr("at most 2 bytes, got 3"));
  EXPECT_THAT(Fault(File("{}", "", std::numeric_limits<uint64_t>::max())), HasSubstr("at most"));
  EXPECT_THAT(Fault(File("", "")), HasSubstr("begins with {"));
  EXPECT_THAT(Fault(File(" {}", "")), HasSubstr("begins with {"));
  for (const char* header : {"{", "{}x", "{\"a\":}", "{\"\xff\":1}", "{\"a\":1e999}"}) {
    EXPECT_THAT(Fault(File(header, "")), HasSubstr("JSON object")) << header;
  }
  EXPECT_EQ(Fault(File("{}   ", "")), "");
}

TEST(SafetensorsTest, AnEntryThatLiesIsRefusedByName) {
  const std::string data(8, '\1');
  EXPECT_EQ(Fault(File(Header(Entry("a", "[2]", 0, 8)), data)), "");
  const auto fault = [&](const std::string& shape, int begin, int end, const char* dtype = "F32") {
    const std::string said = Fault(File(Header(Entry("a", shape, begin, end, dtype)), data));
    EXPECT_THAT(said, HasSubstr("\"a\""));
    return said;
  };
  EXPECT_THAT(fault("[3]", 0, 8), HasSubstr("12 bytes"));
  EXPECT_THAT(fault("[2]", 0, 8, "F64"), HasSubstr("dtype F32 or I64"));
  EXPECT_THAT(fault("[2]", 0, 8, "I64"), HasSubstr("16 bytes"));
  EXPECT_THAT(fault("2", 0, 8), HasSubstr("a shape"));
  EXPECT_THAT(fault("[-2]", 0, 8), HasSubstr("whole numbers"));
  EXPECT_THAT(fault("[2.0]", 0, 8), HasSubstr("whole numbers"));
  EXPECT_THAT(fault("[\"2\"]", 0, 8), HasSubstr("whole numbers"));
  EXPECT_THAT(fault("[2]", -8, 0), HasSubstr("whole numbers"));
  EXPECT_THAT(fault("[2]", 8, 0), HasSubstr("8 bytes"));
  // Products beyond 64 bits, that would wrap to 8 bytes.
  EXPECT_THAT(fault("[4611686018427387904, 2]", 0, 8), HasSubstr("64 bits"));
  EXPECT_THAT(fault("[18446744073709551615]", 0, 8), HasSubstr("63 bits"));
  for (const char* entry : {"1", "[]", "{}", "{\"dtype\":\"F32\",\"shape\":[2]}",
                            "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4,8]}",
                            "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,1e1]}"}) {
    EXPECT_THAT(Fault(File(absl::StrCat("{\"a\":", entry, "}"), data)), HasSubstr("\"a\""))
        << entry;
  }
}

TEST(SafetensorsTest, HolesOverlapsAndWhatIsLeftOverAreRefused) {
  const std::string data(16, '\1');
  const auto fault = [&](const std::string& first, const std::string& second) {
    return Fault(File(Header(first, second), data));
  };
  EXPECT_EQ(fault(Entry("a", "[2]", 8, 16), Entry("b", "[2]", 0, 8)), "");
  EXPECT_THAT(fault(Entry("a", "[2]", 0, 8), Entry("b", "[1]", 12, 16)), HasSubstr("\"b\""));
  EXPECT_THAT(fault(Entry("a", "[3]", 0, 12), Entry("b", "[2]", 8, 16)), HasSubstr("\"b\""));
  EXPECT_THAT(fault(Entry("a", "[2]", 0, 8), Entry("b", "[2]", 0, 8)), HasSubstr("from byte 8"));
  EXPECT_THAT(fault(Entry("a", "[1]", 0, 4), Entry("b", "[2]", 4, 12)),
              HasSubstr("12 bytes of data, got 16"));
  EXPECT_THAT(fault(Entry("a", "[2]", 0, 8), Entry("b", "[4]", 8, 24)),
              HasSubstr("24 bytes of data, got 16"));
  EXPECT_THAT(Fault(File("{}", "x")), HasSubstr("0 bytes of data, got 1"));
}

TEST(SafetensorsTest, ANameThatComesTwiceIsRefused) {
  const std::string data(16, '\1');
  EXPECT_THAT(Fault(File(Header(Entry("a", "[2]", 0, 8), Entry("a", "[2]", 8, 16)), data)),
              HasSubstr("\"a\": expected to be there once"));
  EXPECT_THAT(Fault(File("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],"
                         "\"data_offsets\":[0,16]}}",
                         data)),
              HasSubstr("\"dtype\": expected to be there once"));
  EXPECT_EQ(Fault(File(Header(Entry("a", "[2]", 0, 8), Entry("b", "[2]", 8, 16)), data)), "");
}

TEST(SafetensorsTest, MetadataAreTexts) {
  EXPECT_EQ(FromSafetensors(File(R"({"__metadata__":{"a":"b"}})", ""))->metadata.at("a"), "b");
  for (const char* metadata : {"1", "[]", "{\"a\":1}", "{\"a\":{\"b\":\"c\"}}", "null"}) {
    EXPECT_THAT(Fault(File(absl::StrCat("{\"__metadata__\":", metadata, "}"), "")),
                HasSubstr("__metadata__"))
        << metadata;
  }
}

TEST(SafetensorsTest, DepthAndNumberOfEntriesAreBounded) {
  const int depth = 100'000;
  EXPECT_THAT(
      Fault(
          File(absl::StrCat("{\"a\":", std::string(depth, '['), std::string(depth, ']'), "}"), "")),
      HasSubstr("too deeply"));
  std::string many = "{\"a\":[0";
  for (int i = 0; i < 1'100'000; ++i) many += ",0";
  EXPECT_THAT(Fault(File(many + "]}", "")), HasSubstr("too many"));
  EXPECT_THAT(Fault(File(absl::StrCat("{", std::string(17 << 20, ' '), "}"), "")),
              HasSubstr("at most 16777216"));
}

TEST(SafetensorsTest, NoPrefixOfAFileIsTakenForOne) {
  const std::string bytes = ToSafetensors(Sample());
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_NE(Fault(bytes.substr(0, n)), "") << n;
  EXPECT_NE(Fault(bytes + "x"), "");
}

}  // namespace
}  // namespace lazynorm
