#ifndef LAZYNORM_TESTS_SUPPORT_TEXT_PROTO_H_
#define LAZYNORM_TESTS_SUPPORT_TEXT_PROTO_H_

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

namespace lazynorm {

// A message from its text form.
template <class Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_TEXT_PROTO_H_
