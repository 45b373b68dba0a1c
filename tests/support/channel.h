#ifndef LAZYNORM_TESTS_SUPPORT_CHANNEL_H_
#define LAZYNORM_TESTS_SUPPORT_CHANNEL_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

namespace lazynorm {

// A channel to a server that listens at `address`: connected, on a socket that no other channel
// shares. gRPC before 1.61 may take the errno of another call for that of its connect() and give up
// one attempt (grpc/grpc#35064): a first call that did not wait would meet that once in a while.
inline std::shared_ptr<grpc::Channel> ConnectedChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::minutes(2)))
      << address;
  return channel;
}

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_CHANNEL_H_
