#include "tests/bench/servers.h"

#include <utility>

#include "client/client.h"
#include "model/status_macros.h"

namespace lazynorm {
namespace {

v1::Matrix Numbers(int rows, int columns) {
  v1::Matrix matrix;
  matrix.set_rows(rows);
  matrix.set_columns(columns);
  for (int i = 0; i < rows * columns; ++i) {
    matrix.add_values(static_cast<float>(i * 37 % 101) / 50 - 1);
  }
  return matrix;
}

}  // namespace

absl::StatusOr<Server> StartServer(std::string name, const std::vector<std::string>& command) {
  Server server{.name = std::move(name)};
  ASSIGN_OR_RETURN(server.process, Child::Start(command));
  server.channel = Connect(server);
  return server;
}

absl::StatusOr<Server> StartProduct(const BenchOptions& options,
                                    const std::vector<std::string>& flags) {
  std::vector<std::string> command = {options.server, "--listen=127.0.0.1:0",
                                      "--metrics_listen=", "--store=memory:"};
  command.insert(command.end(), flags.begin(), flags.end());
  return StartServer("lazynorm", command);
}

std::shared_ptr<grpc::Channel> Connect(const Server& server) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(server.process->address(), grpc::InsecureChannelCredentials(),
                                   arguments);
}

absl::Status CreateModel(const Server& server, const std::string& id, const Shape& shape) {
  ASSIGN_OR_RETURN(const Client client, Client::Connect({.target = server.process->address()}));
  v1::CreateModelRequest create;
  create.set_model_id(id);
  create.mutable_spec()->set_in_features(shape.in);
  for (const int width : shape.hidden) create.mutable_spec()->mutable_mlp()->add_hidden(width);
  create.mutable_spec()->mutable_mlp()->set_out_features(shape.out);
  return client.CreateModel(create).status();
}

v1::PredictRequest PredictRequest(const std::string& model, int rows, int columns) {
  v1::PredictRequest request;
  request.set_model(model);
  *request.mutable_features() = Numbers(rows, columns);
  return request;
}

v1::TrainRequest TrainRequest(const std::string& model, const Shape& shape) {
  v1::TrainRequest request;
  request.set_model(model);
  *request.mutable_features() = Numbers(shape.rows, shape.in);
  *request.mutable_targets() = Numbers(shape.rows, shape.out);
  return request;
}

}  // namespace lazynorm
