#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/rpc/inference_service.h"
#include "tests/server/rpc/inference_fixture.h"

namespace lazynorm {
namespace {

TEST_F(InferenceServiceTest, AStreamTellsOfABadRequestAndStaysOpen) {
  Train(1);
  grpc::ClientContext context;
  auto stream = stub_->ModelStreamInfer(&context);
  const v1::Matrix x = RandomMatrix(3, 3, 1);
  ModelInferRequest bad = RawQuery("m", RandomMatrix(2, 4, 1));
  bad.set_id("second");
  ASSERT_TRUE(stream->Write(RawQuery("m", x)));
  ASSERT_TRUE(stream->Write(bad));
  ASSERT_TRUE(stream->Write(RawQuery("nobody", x)));
  ASSERT_TRUE(stream->Write(RawQuery("m", x)));
  stream->WritesDone();
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "");
  EXPECT_EQ(response.infer_response().raw_output_contents(0), Predicted("m", x));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "features: expected 3 columns, got 4");
  EXPECT_EQ(response.infer_response().id(), "second");
  EXPECT_EQ(response.infer_response().outputs_size(), 0);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(absl::StrContains(response.error_message(), "nobody"));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.error_message(), "");
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferenceServiceTest, AStreamEndsWithABadRequestIfItsCallerSaysSo) {
  Train(1);
  grpc::ClientContext context;
  context.AddMetadata("triton_grpc_error", "true");
  auto stream = stub_->ModelStreamInfer(&context);
  stream->Write(RawQuery("m", RandomMatrix(3, 3, 1)));
  stream->Write(RawQuery("m", RandomMatrix(3, 4, 1)));
  stream->Write(RawQuery("m", RandomMatrix(3, 3, 1)));
  stream->WritesDone();
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.infer_response().model_version(), "1");
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(DetailsOf(stream->Finish()), Invalid("WIDTH_MISMATCH", "features"));
}

TEST_F(InferenceServiceTest, AStreamMayWaitForSteps) {
  grpc::ClientContext context;
  auto stream = stub_->ModelStreamInfer(&context);
  ModelInferRequest request = RawQuery("m", RandomMatrix(3, 3, 1));
  for (int step = 1; step <= 2; ++step) {
    SetParameter(request, "min_step", step);
    ASSERT_TRUE(stream->Write(request));
  }
  inference::ModelStreamInferResponse response;
  for (int step = 1; step <= 2; ++step) {
    Train(1);
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.infer_response().model_version(), absl::StrCat(step));
  }
  // One that waits for ever goes with its caller.
  SetParameter(request, "min_step", 100);
  ASSERT_TRUE(stream->Write(request));
  absl::SleepFor(absl::Milliseconds(10));
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
}

}  // namespace
}  // namespace lazynorm
