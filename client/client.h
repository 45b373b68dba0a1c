#ifndef LAZYNORM_CLIENT_CLIENT_H_
#define LAZYNORM_CLIENT_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.pb.h"
#include "lazynorm/v1/model_service.pb.h"
#include "lazynorm/v1/prediction_service.pb.h"
#include "lazynorm/v1/training_service.pb.h"

// The C++ client of lazynormd.
//
//   ASSIGN_OR_RETURN(Client client, Client::Connect({.target = "localhost:50051"}));
//   v1::CreateModelRequest create;
//   create.set_model_id("demand");
//   create.mutable_spec()->mutable_mlp()->add_hidden(32);
//   ASSIGN_OR_RETURN(v1::Model model, client.CreateModel(create));
//   ASSIGN_OR_RETURN(v1::TrainResponse step, client.Train(rows_with_targets));
//   ASSIGN_OR_RETURN(v1::PredictResponse answer, client.Predict(rows));
//
// Errors are what the server answered: its code and message, and its stable reason by
// Client::ReasonOf. UNAVAILABLE without a reason: the server could not be reached.

namespace lazynorm {

struct ClientOptions {
  // host:port, unix:/path, or any other name gRPC resolves. All addresses behind the name are used
  // in turn (round_robin).
  std::string target = "127.0.0.1:50051";
  // TLS; asked for by any of the three files, too. PEM: the authorities that the server's
  // certificate may be signed by (none: the system's), and what the server knows this client by.
  bool tls = false;
  std::string tls_ca, tls_cert, tls_key;
  // A bearer token, sent with each call. In plain text only to this machine.
  std::string token;
  // Deadline of a unary call with all its retries. Streams have none.
  absl::Duration timeout = absl::Seconds(30);
  // During a call, how long to wait for a sign of life before asking for one.
  absl::Duration keepalive = absl::Seconds(60);
  // Whether Train, Predict, Evaluate and the two pipelined streams try again what may well succeed
  // later: UNAVAILABLE, a lost connection, and RESOURCE_EXHAUSTED when the server says when to come
  // back.
  bool retry = true;
  // Pauses between tries: the first, and the longest. Each is about twice the one before, at random
  // by up to a fifth, and never shorter than what the server asks for.
  absl::Duration first_backoff = absl::Milliseconds(100);
  absl::Duration longest_backoff = absl::Seconds(5);
};

// A pipelined stream: up to a window of requests travel while their answers are awaited. Answers
// arrive in order, through the callback given at the start, on the thread that calls Write or
// Finish. Destroyed unfinished, it is cancelled. Thread-compatible.
template <typename Request, typename Response>
class ClientStream {
 public:
  using OnAnswer = std::function<void(const Request&, const Response&)>;

  virtual ~ClientStream() = default;
  // Sends `request`; waits while the window is full. An error is final: the stream is over and
  // unanswered requests got no answer.
  virtual absl::Status Write(Request request) = 0;
  // Waits for the last answers and ends the stream.
  virtual absl::Status Finish() = 0;
};

using TrainStream = ClientStream<v1::TrainRequest, v1::TrainResponse>;
using PredictStream = ClientStream<v1::PredictRequest, v1::PredictResponse>;

// A connection to a server. Copies share it. Thread-safe.
class Client {
 public:
  // Checks the options. The connection itself is made by the first call.
  // INVALID_ARGUMENT: empty target, a timeout that is not positive, a file that cannot be read, or
  // a token that would go to another machine in plain text.
  static absl::StatusOr<Client> Connect(ClientOptions options);

  // The same connection with another deadline.
  Client WithTimeout(absl::Duration timeout) const;

  // Models.
  absl::StatusOr<v1::Model> CreateModel(const v1::CreateModelRequest& request) const;
  absl::StatusOr<v1::Model> GetModel(absl::string_view model) const;
  absl::StatusOr<v1::ListModelsResponse> ListModels(const v1::ListModelsRequest& request) const;
  // All pages.
  absl::StatusOr<std::vector<v1::Model>> ListAllModels() const;
  absl::Status DeleteModel(absl::string_view model) const;
  absl::StatusOr<v1::Model> UpdateModel(const v1::UpdateModelRequest& request) const;
  absl::StatusOr<v1::GetModelStateResponse> GetModelState(absl::string_view model) const;
  absl::StatusOr<v1::Model> FreezeStatistics(absl::string_view model) const;
  absl::StatusOr<v1::Model> UnfreezeStatistics(absl::string_view model) const;
  // The copy, under the id `model_id`.
  absl::StatusOr<v1::Model> CopyModel(absl::string_view model, absl::string_view model_id) const;
  // Keeps the model's whole state under a label, which may be empty.
  absl::StatusOr<v1::Checkpoint> CreateCheckpoint(absl::string_view model,
                                                  absl::string_view label) const;
  // Oldest first.
  absl::StatusOr<std::vector<v1::Checkpoint>> ListCheckpoints(absl::string_view model) const;
  // The model, taken back to a checkpoint, or to a past step within reach of its journal.
  absl::StatusOr<v1::Model> RestoreCheckpoint(absl::string_view model,
                                              absl::string_view checkpoint_id) const;
  absl::StatusOr<v1::Model> RestoreStep(absl::string_view model, int64_t step) const;
  absl::Status DeleteCheckpoint(absl::string_view model, absl::string_view checkpoint_id) const;
  // Calls `on_piece` with all models as of one moment, the bytes of a lazynorm.db piece by piece
  // and how many they are in all, until it returns false (then CANCELLED) or the stream ends.
  absl::Status Backup(
      const std::function<bool(absl::string_view data, int64_t size)>& on_piece) const;
  // Calls `on_piece` with the pieces of a file of the model until it returns false (then CANCELLED)
  // or the stream ends.
  absl::Status ExportModel(absl::string_view model, v1::ExportFormat format,
                           const std::function<bool(absl::string_view data)>& on_piece) const;
  // Makes a model of a safetensors file. `first` has its id and, unless the file has it, its spec.
  // `next` gives the next piece, empty at the end; its error ends the call with it.
  absl::StatusOr<v1::Model> ImportModel(
      v1::ImportModelRequest first, const std::function<absl::StatusOr<std::string>()>& next) const;
  // Calls `on_status` with each status until it returns false (then OK) or the stream ends.
  absl::Status WatchModel(const v1::WatchModelRequest& request,
                          const std::function<bool(const v1::ModelStatus&)>& on_status) const;

  // Training. With prediction_ids instead of features, on rows that an earlier Predict with the
  // same prediction_ids left with the server; NOT_FOUND names those it does not know, or not any
  // more. A request without a request_id is given one, so that a retry is never trained twice.
  absl::StatusOr<v1::TrainResponse> Train(v1::TrainRequest request) const;
  // Keeps at most `window` requests unanswered, and gives each a request_id that has none. When the
  // connection breaks, it is made again and the unanswered requests are sent again under their
  // request_ids, for up to the timeout without an answer.
  std::unique_ptr<TrainStream> OpenTrainStream(int window, TrainStream::OnAnswer on_answer) const;

  // Prediction.
  absl::StatusOr<v1::PredictResponse> Predict(const v1::PredictRequest& request) const;
  std::unique_ptr<PredictStream> OpenPredictStream(int window,
                                                   PredictStream::OnAnswer on_answer) const;
  absl::StatusOr<v1::EvaluateResponse> Evaluate(const v1::EvaluateRequest& request) const;
  // Fills in the next request; false when there are no more. An error ends the stream with it.
  using NextEvaluateRequest = std::function<absl::StatusOr<bool>(v1::EvaluateRequest*)>;
  // One result over the rows of all requests.
  absl::StatusOr<v1::EvaluateResponse> EvaluateStream(const NextEvaluateRequest& next) const;

  // Health of the server (""), of a service by its full name, or of "models/<model_id>".
  // NOT_FOUND: no such service.
  absl::StatusOr<grpc::health::v1::HealthCheckResponse> Check(absl::string_view service) const;

  // The reason of an error that came from the server, such as "WIDTH_MISMATCH"; "" if it has none.
  static std::string ReasonOf(const absl::Status& status);

 private:
  struct Stubs;
  Client(ClientOptions options, std::shared_ptr<const Stubs> stubs);

  ClientOptions options_;
  std::shared_ptr<const Stubs> stubs_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLIENT_H_
