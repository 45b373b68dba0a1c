#ifndef LAZYNORM_TESTS_SUPPORT_TRAIN_STREAMING_H_
#define LAZYNORM_TESTS_SUPPORT_TRAIN_STREAMING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {

// A TrainStream in which writing and reading are the test's.
struct TrainStreaming {
  explicit TrainStreaming(Connection& client) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    stream = client.training->TrainStream(&context);
  }
  // The steps of all answers until the end.
  std::vector<int64_t> ReadAll() {
    std::vector<int64_t> steps;
    v1::TrainResponse response;
    while (stream->Read(&response)) steps.push_back(response.step());
    return steps;
  }
  ErrorDetails Finish() { return DetailsOf(stream->Finish()); }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::TrainRequest, v1::TrainResponse>> stream;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_TRAIN_STREAMING_H_
