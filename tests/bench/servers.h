#ifndef LAZYNORM_TESTS_BENCH_SERVERS_H_
#define LAZYNORM_TESTS_BENCH_SERVERS_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lazynorm/v1/prediction_service.pb.h"
#include "lazynorm/v1/training_service.pb.h"
#include "tests/bench/child.h"
#include "tests/bench/shapes.h"

namespace lazynorm {

struct BenchOptions {
  int rounds = 5;
  absl::Duration time = absl::Milliseconds(400);  // of one loop, after its warm-up
  std::string server;                             // the path of lazynormd
  std::string self;                               // the path of this program, for --bare
};

// A server process and a way to it.
struct Server {
  std::string name;
  std::unique_ptr<Child> process;
  std::shared_ptr<grpc::Channel> channel;
};

absl::StatusOr<Server> StartServer(std::string name, const std::vector<std::string>& command);

// lazynormd with its defaults, on a free port of the loopback, keeping nothing on a disk.
absl::StatusOr<Server> StartProduct(const BenchOptions& options,
                                    const std::vector<std::string>& flags = {});

// A connection of its own.
std::shared_ptr<grpc::Channel> Connect(const Server& server);

absl::Status CreateModel(const Server& server, const std::string& id, const Shape& shape);

v1::PredictRequest PredictRequest(const std::string& model, int rows, int columns);
v1::TrainRequest TrainRequest(const std::string& model, const Shape& shape);

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_SERVERS_H_
