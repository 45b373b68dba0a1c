#include "server/rpc/reflection.h"

#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/metrics/metrics.h"
#include "server/rpc/health.h"
#include "server/rpc/transport.h"
#include "tests/support/channel.h"

namespace lazynorm {
namespace {

using grpc::reflection::v1alpha::ServerReflection;
using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
using Response = grpc::reflection::v1alpha::ServerReflectionResponse;

class ReflectionTest : public testing::Test {
 protected:
  void SetUp() override {
    AddHealthService(transport_, health_);
    AddReflectionService(transport_);
    ASSERT_TRUE(transport_.Start().ok());
    stub_ = ServerReflection::NewStub(
        ConnectedChannel(absl::StrCat("127.0.0.1:", transport_.ports()[0])));
  }
  void TearDown() override { transport_.Shutdown(absl::Now() + absl::Seconds(1)); }

  Response Ask(const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
    const auto stream = stub_->ServerReflectionInfo(&context);
    Response response;
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&response));
    EXPECT_TRUE(stream->WritesDone());
    EXPECT_TRUE(stream->Finish().ok());
    return response;
  }

  static std::vector<std::string> Files(const Response& response) {
    std::vector<std::string> names;
    for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      EXPECT_TRUE(file.ParseFromString(bytes));
      names.push_back(file.name());
    }
    return names;
  }

  Metrics metrics_{"test", "v3"};
  Health health_;
  Transport transport_{{.listen = {"127.0.0.1:0"}}, metrics_};
  std::unique_ptr<ServerReflection::Stub> stub_;
};

TEST_F(ReflectionTest, ListsTheServicesItselfIncluded) {
  Request request;
  request.set_list_services("*");
  const Response response = Ask(request);
  std::vector<std::string> names;
  for (const auto& service : response.list_services_response().service()) {
    names.push_back(service.name());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"grpc.health.v1.Health",
                                             "grpc.reflection.v1alpha.ServerReflection"}));
  EXPECT_EQ(response.original_request().list_services(), "*");
}

TEST_F(ReflectionTest, AFileComesWithWhatItImports) {
  Request request;
  request.set_file_containing_symbol("lazynorm.v1.Matrix");
  EXPECT_EQ(Files(Ask(request)), std::vector<std::string>{"lazynorm/v1/tensor.proto"});
  request.set_file_by_filename("lazynorm/v1/prediction_service.proto");
  const std::vector<std::string> files = Files(Ask(request));
  ASSERT_GE(files.size(), 2u);
  EXPECT_EQ(files.back(), "lazynorm/v1/prediction_service.proto");
  EXPECT_EQ(files.front(), "lazynorm/v1/tensor.proto");
}

TEST_F(ReflectionTest, WhatIsNotThereIsSaidSo) {
  Request request;
  request.set_file_containing_symbol("lazynorm.v1.Nothing");
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_file_by_filename("nothing.proto");
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_all_extension_numbers_of_type("lazynorm.v1.Matrix");
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace lazynorm
