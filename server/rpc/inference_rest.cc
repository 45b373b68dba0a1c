#include "server/rpc/inference_rest.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "server/base/mutex.h"
#include "server/convert/inference_json.h"

namespace lazynorm {
namespace {

// As google/rpc/code.proto has them.
int HttpCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

absl::Status NoSuchPath() {
  return absl::NotFoundError("there is nothing here; /v2/models/NAME/infer predicts");
}

// What another replica is told of a caller over HTTP, should it have to do something for it.
class HttpCall : public Call {
 public:
  HttpCall(absl::Time deadline, std::string authorization)
      : deadline_(deadline), authorization_(std::move(authorization)) {}
  absl::Time deadline() const override { return deadline_; }
  bool cancelled() const override { return false; }
  void OnCancel(absl::AnyInvocable<void()> /*fn*/) override {}
  std::string Metadata(absl::string_view key) const override {
    return key == "authorization" ? authorization_ : "";
  }

 private:
  const absl::Time deadline_;
  const std::string authorization_;
};

// An infer call and the thread that waits for it; either may be the last to let go.
struct Exchange {
  explicit Exchange(HttpCall made) : call(std::move(made)) {}

  const HttpCall call;
  inference::ModelInferRequest request;
  inference::ModelInferResponse response;
  Mutex mutex;
  CondVar changed;
  std::optional<absl::Status> status ABSL_GUARDED_BY(mutex);

  void Finish(absl::Status answer) {
    MutexLock lock(&mutex);
    status = std::move(answer);
    changed.NotifyAll();
  }
  absl::Status Wait(absl::Time deadline) {
    MutexLock lock(&mutex);
    while (!status.has_value()) {
      if (!changed.WaitUntil(&mutex, deadline) && !status.has_value()) {
        return absl::DeadlineExceededError("there was no answer in time");
      }
    }
    return *status;
  }
};

}  // namespace

HttpAnswer InferenceRest::Answer(const HttpRequest& request) {
  absl::StatusOr<HttpAnswer> answer = Route(request);
  if (answer.ok()) return *std::move(answer);
  // The same tensor in other words.
  const std::string message = absl::StrReplaceAll(
      answer.status().message(), {{"inputs[0].contents.fp32_contents", "inputs[0].data"}});
  return {.code = HttpCode(answer.status().code()), .body = ErrorToJson(message)};
}

absl::StatusOr<HttpAnswer> InferenceRest::Route(const HttpRequest& request) {
  std::vector<std::string> path = absl::StrSplit(request.path, '/', absl::SkipEmpty());
  path.erase(path.begin());  // v2
  const bool infer = !path.empty() && path.back() == "infer";
  if (request.method != (infer ? "POST" : "GET")) {
    return HttpAnswer{.code = 405, .body = ErrorToJson(infer ? "expected POST" : "expected GET")};
  }
  Pass pass;
  RETURN_IF_ERROR(guard_.Admit(
      AccessOf("inference.GRPCInferenceService", infer ? "ModelInfer" : "ModelMetadata"),
      request.authorization, [&request] { return request.address; }, &pass));
  if (path.empty()) {
    inference::ServerMetadataResponse response;
    RETURN_IF_ERROR(service_.ServerMetadata({}, &response));
    return HttpAnswer{.body = ToJson(response)};
  }
  if (path[0] == "health" && path.size() == 2) return AnswerHealth(path[1]);
  if (path[0] != "models" || path.size() < 2) return NoSuchPath();
  path.erase(path.begin());
  return AnswerModel(request, pass, std::move(path));
}

absl::StatusOr<HttpAnswer> InferenceRest::AnswerHealth(const std::string& what) const {
  if (what == "live") return HttpAnswer{.body = "{\"live\":true}"};
  if (what != "ready") return NoSuchPath();
  if (service_.ready()) return HttpAnswer{.body = "{\"ready\":true}"};
  return HttpAnswer{.code = 503, .body = "{\"ready\":false}"};
}

absl::StatusOr<HttpAnswer> InferenceRest::AnswerModel(const HttpRequest& request, const Pass& pass,
                                                      std::vector<std::string> path) {
  RETURN_IF_ERROR(transport_.CheckServing());
  const std::string name = path[0];
  RETURN_IF_ERROR(pass.CheckModel(name));
  const bool versioned = path.size() >= 3 && path[1] == "versions";
  const std::string version = versioned ? path[2] : "";
  path.erase(path.begin(), path.begin() + (versioned ? 3 : 1));
  if (path.size() > 1) return NoSuchPath();
  if (!path.empty() && path[0] == "infer") {
    ASSIGN_OR_RETURN(std::string body, Infer(request, name, version));
    return HttpAnswer{.body = std::move(body)};
  }
  inference::ModelMetadataRequest asked;
  asked.set_name(name);
  asked.set_version(version);
  inference::ModelMetadataResponse metadata;
  RETURN_IF_ERROR(service_.ModelMetadata(asked, &metadata));
  if (path.empty()) return HttpAnswer{.body = ToJson(metadata)};
  if (path[0] != "ready") return NoSuchPath();
  const bool ready = service_.ready();
  return HttpAnswer{.code = ready ? 200 : 503,
                    .body = absl::StrCat("{\"name\":\"", metadata.name(),
                                         "\",\"ready\":", ready ? "true" : "false", "}")};
}

absl::StatusOr<std::string> InferenceRest::Infer(const HttpRequest& request,
                                                 const std::string& name,
                                                 const std::string& version) {
  const absl::Time deadline = absl::Now() + kLongest;
  const auto exchange = std::make_shared<Exchange>(HttpCall(deadline, request.authorization));
  RETURN_IF_ERROR(FromJson(request.body, &exchange->request));
  exchange->request.set_model_name(name);
  exchange->request.set_model_version(version);
  std::shared_ptr<StepWait> waits;
  service_.Infer(exchange->request, &exchange->response,
                 {.deadline = deadline,
                  .on_wait = [&waits](std::shared_ptr<StepWait> wait) { waits = std::move(wait); },
                  .done = [exchange](absl::Status status) { exchange->Finish(std::move(status)); },
                  .call = &exchange->call});
  const absl::Status status = exchange->Wait(deadline);
  if (waits != nullptr) waits->Cancel();
  RETURN_IF_ERROR(status);
  return ToJson(exchange->response);
}

}  // namespace lazynorm
