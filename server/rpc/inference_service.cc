#include "server/rpc/inference_service.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/loss.h"
#include "model/status_macros.h"
#include "server/convert/inference.h"

namespace lazynorm {
namespace {

using Async = inference::GRPCInferenceService::AsyncService;

constexpr char kService[] = "inference.GRPCInferenceService";
constexpr int kMostModels = 1'000'000;  // what --max_models can be

absl::Status CheckVersion(const std::string& version, const std::string& field, int64_t step) {
  if (version.empty() || version == absl::StrCat(step)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", field,
                   absl::StrCat("expected none, or the model's present step ", step, ", got \"",
                                version.substr(0, 80), "\""));
}

absl::Status InferInto(Predictor& predictor, const Plan& plan, ConstMatrixView x,
                       const std::vector<InferOutput>& outputs,
                       const inference::ModelInferRequest& request,
                       inference::ModelInferResponse* response) {
  RETURN_IF_ERROR(CheckVersion(request.model_version(), "model_version", plan.step()));
  const bool raw = request.raw_input_contents_size() > 0;
  std::vector<MatrixView> places;
  for (const InferOutput output : outputs) {
    places.push_back(AddInferOutput(output, x.rows(), plan.out_features(), raw, response));
  }
  predictor.PredictRows(plan, x, places[0]);
  for (size_t i = 1; i < places.size(); ++i) {
    std::copy_n(places[0].data(), places[0].size(), places[i].data());
  }
  for (size_t i = 0; i < places.size(); ++i) {
    if (outputs[i] != InferOutput::kProbabilities) continue;
    RETURN_IF_ERROR(ToProbabilities(plan.loss(), places[i]));
  }
  response->set_model_name(request.model_name());
  response->set_model_version(absl::StrCat(plan.step()));
  response->set_id(request.id());
  return absl::OkStatus();
}

// -1 for a width that is not known yet.
int64_t WidthOrVaries(int width) {
  return width > 0 ? width : -1;
}

void AddTensor(absl::string_view name, int width,
               inference::ModelMetadataResponse::TensorMetadata* tensor) {
  tensor->set_name(std::string(name));
  tensor->set_datatype("FP32");
  tensor->add_shape(-1);
  tensor->add_shape(WidthOrVaries(width));
}

void Set(int64_t count, absl::Duration time, inference::StatisticDuration* duration) {
  duration->set_count(count);
  duration->set_ns(absl::ToInt64Nanoseconds(time));
}

void Describe(HostedModel& model, inference::ModelStatistics* statistics) {
  const PredictionTally::Totals totals = model.predictions().totals();
  statistics->set_name(model.id());
  statistics->set_version(absl::StrCat(model.view()->step));
  if (totals.predictions > 0) statistics->set_last_inference(absl::ToUnixMillis(totals.latest));
  statistics->set_inference_count(totals.rows);
  statistics->set_execution_count(totals.predictions);
  auto* stats = statistics->mutable_inference_stats();
  Set(totals.predictions, totals.waiting + totals.computing, stats->mutable_success());
  Set(totals.failures, totals.failing, stats->mutable_fail());
  Set(totals.predictions, totals.waiting, stats->mutable_queue());
  Set(totals.predictions, totals.computing, stats->mutable_compute_infer());
}

// Messages of a ModelStreamInfer. Overlap, except that one which may wait for a step is waited for.
class InferStream
    : public BidiHandler<inference::ModelInferRequest, inference::ModelStreamInferResponse> {
 public:
  InferStream(InferenceService& service, Call& call)
      : service_(service),
        call_(call),
        errors_end_it_(call.Metadata("triton_grpc_error") == "true") {}

  bool MayOverlap(const inference::ModelInferRequest& next) override {
    return !next.parameters().contains("min_step");
  }

  void OnMessage(inference::ModelInferRequest request,
                 Reply<inference::ModelStreamInferResponse> reply) override {
    struct Exchange {
      inference::ModelInferRequest request;
      inference::ModelStreamInferResponse response;
      Reply<inference::ModelStreamInferResponse> reply;
    };
    auto exchange = std::make_shared<Exchange>(Exchange{std::move(request), {}, std::move(reply)});
    service_.Infer(
        exchange->request, exchange->response.mutable_infer_response(),
        {.deadline = call_.deadline(),
         .on_wait = [this](std::shared_ptr<StepWait> wait) { wait_.Keep(std::move(wait)); },
         .done =
             [exchange, errors_end_it = errors_end_it_](absl::Status status) {
               if (!status.ok() && errors_end_it) return exchange->reply(std::move(status));
               if (!status.ok()) Refuse(exchange->request, status, &exchange->response);
               exchange->reply(std::move(exchange->response));
             },
         .call = &call_});
  }

  void OnCancel() override { wait_.Cancel(); }

 private:
  // Says beside the error whose it is.
  static void Refuse(const inference::ModelInferRequest& request, const absl::Status& status,
                     inference::ModelStreamInferResponse* response) {
    response->Clear();
    response->set_error_message(std::string(status.message()));
    response->mutable_infer_response()->set_model_name(request.model_name());
    response->mutable_infer_response()->set_id(request.id());
  }

  InferenceService& service_;
  Call& call_;
  const bool errors_end_it_;
  StreamWait wait_;
};

}  // namespace

void InferenceService::Register() {
  auto* service = transport_.AddService(std::make_unique<Async>());
  RegisterDescriptions(service);
  RegisterRepository(service);
  transport_.AddUnary(
      service, &Async::RequestModelInfer, kService, "ModelInfer",
      [this](UnaryCall<inference::ModelInferRequest, inference::ModelInferResponse>& call) {
        Infer(call.request(), call.response(), JobOf(call));
      });
  transport_.AddBidi(service, &Async::RequestModelStreamInfer, kService, "ModelStreamInfer",
                     [this](Call& call) { return std::make_unique<InferStream>(*this, call); });
}

// Whether the server is there and ready is a question in every phase.
void InferenceService::RegisterDescriptions(Async* service) {
  constexpr MethodOptions kAlways = {.always_open = true};
  transport_.AddUnary(
      service, &Async::RequestServerLive, kService, "ServerLive",
      [](const inference::ServerLiveRequest&, inference::ServerLiveResponse* response) {
        response->set_live(true);
        return absl::OkStatus();
      },
      kAlways);
  transport_.AddUnary(
      service, &Async::RequestServerReady, kService, "ServerReady",
      [this](const inference::ServerReadyRequest&, inference::ServerReadyResponse* response) {
        response->set_ready(ready_());
        return absl::OkStatus();
      },
      kAlways);
  transport_.AddUnary(
      service, &Async::RequestModelReady, kService, "ModelReady",
      [this](const auto& request, auto* response) { return ModelReady(request, response); },
      kAlways);
  transport_.AddUnary(
      service, &Async::RequestServerMetadata, kService, "ServerMetadata",
      [this](const auto& request, auto* response) { return ServerMetadata(request, response); },
      kAlways);
  transport_.AddUnary(
      service, &Async::RequestModelMetadata, kService, "ModelMetadata",
      [this](const auto& request, auto* response) { return ModelMetadata(request, response); });
  transport_.AddUnary(
      service, &Async::RequestModelConfig, kService, "ModelConfig",
      [this](const auto& request, auto* response) { return ModelConfig(request, response); });
  transport_.AddUnary(
      service, &Async::RequestModelStatistics, kService, "ModelStatistics",
      [this](UnaryCall<inference::ModelStatisticsRequest, inference::ModelStatisticsResponse>& c) {
        c.Finish(ModelStatistics(c, c.request(), c.response()));
      });
}

void InferenceService::RegisterRepository(Async* service) {
  transport_.AddUnary(
      service, &Async::RequestRepositoryIndex, kService, "RepositoryIndex",
      [this](UnaryCall<inference::RepositoryIndexRequest, inference::RepositoryIndexResponse>& c) {
        c.Finish(RepositoryIndex(c, c.request(), c.response()));
      });
  transport_.AddUnary(service, &Async::RequestRepositoryModelLoad, kService, "RepositoryModelLoad",
                      [this](const auto& request, auto* response) {
                        return RepositoryModelLoad(request, response);
                      });
  transport_.AddUnary(
      service, &Async::RequestRepositoryModelUnload, kService, "RepositoryModelUnload",
      [](const inference::RepositoryModelUnloadRequest&,
         inference::RepositoryModelUnloadResponse*) {
        return absl::UnimplementedError(
            "models are always loaded; lazynorm.v1.ModelService/DeleteModel takes one away for "
            "good, with all that it has learned");
      });
}

InferenceService::ModelAndStatus InferenceService::Find(const std::string& name,
                                                        const std::string& version) const {
  ASSIGN_OR_RETURN(auto model, registry_.Find(name));
  RETURN_IF_ERROR(CheckVersion(version, "version", model->view()->step));
  return model;
}

absl::Status InferenceService::ModelReady(const inference::ModelReadyRequest& request,
                                          inference::ModelReadyResponse* response) const {
  response->set_ready(ready_() && Find(request.name(), request.version()).ok());
  return absl::OkStatus();
}

absl::Status InferenceService::ServerMetadata(const inference::ServerMetadataRequest&,
                                              inference::ServerMetadataResponse* response) const {
  response->set_name("lazynorm");
  response->set_version(version_);
  for (const char* extension : {"model_configuration", "statistics", "lazynorm.v1"}) {
    response->add_extensions(extension);
  }
  return absl::OkStatus();
}

absl::Status InferenceService::ModelMetadata(const inference::ModelMetadataRequest& request,
                                             inference::ModelMetadataResponse* response) const {
  ASSIGN_OR_RETURN(const auto model, Find(request.name(), request.version()));
  const auto view = model->view();
  response->set_name(model->id());
  response->add_versions(absl::StrCat(view->step));
  response->set_platform(kInferPlatform);
  AddTensor(kInferInput, view->in_features, response->add_inputs());
  for (const InferOutput output : InferOutputsOf(view->spec->loss.kind)) {
    AddTensor(NameOf(output), view->out_features, response->add_outputs());
  }
  return absl::OkStatus();
}

absl::Status InferenceService::ModelConfig(const inference::ModelConfigRequest& request,
                                           inference::ModelConfigResponse* response) const {
  ASSIGN_OR_RETURN(const auto model, Find(request.name(), request.version()));
  const auto view = model->view();
  auto* config = response->mutable_config();
  config->set_name(model->id());
  config->set_platform(kInferPlatform);
  config->set_backend("lazynorm");
  config->set_max_batch_size(limits_.max_rows);
  auto* input = config->add_input();
  input->set_name(kInferInput);
  input->set_data_type(inference::TYPE_FP32);
  input->add_dims(WidthOrVaries(view->in_features));
  for (const InferOutput output : InferOutputsOf(view->spec->loss.kind)) {
    auto* tensor = config->add_output();
    tensor->set_name(NameOf(output));
    tensor->set_data_type(inference::TYPE_FP32);
    tensor->add_dims(WidthOrVaries(view->out_features));
  }
  return absl::OkStatus();
}

absl::Status InferenceService::ModelStatistics(const Call& call,
                                               const inference::ModelStatisticsRequest& request,
                                               inference::ModelStatisticsResponse* response) const {
  if (!request.name().empty()) {
    ASSIGN_OR_RETURN(const auto model, Find(request.name(), request.version()));
    Describe(*model, response->add_model_stats());
    return absl::OkStatus();
  }
  for (const auto& model : registry_.List("", kMostModels)) {
    if (call.MayUse(model->id())) Describe(*model, response->add_model_stats());
  }
  return absl::OkStatus();
}

absl::Status InferenceService::RepositoryIndex(const Call& call,
                                               const inference::RepositoryIndexRequest& request,
                                               inference::RepositoryIndexResponse* response) const {
  for (const auto& model : registry_.List("", kMostModels)) {
    if (!call.MayUse(model->id())) continue;
    auto* entry = response->add_models();
    entry->set_name(model->id());
    entry->set_version(absl::StrCat(model->view()->step));
    entry->set_state("READY");
  }
  if (request.ready()) return absl::OkStatus();
  for (const auto& [id, status] : registry_.Damaged()) {
    if (!call.MayUse(id)) continue;
    auto* entry = response->add_models();
    entry->set_name(id);
    entry->set_state("UNAVAILABLE");
    entry->set_reason(std::string(status.message()));
  }
  return absl::OkStatus();
}

absl::Status InferenceService::RepositoryModelLoad(
    const inference::RepositoryModelLoadRequest& request,
    inference::RepositoryModelLoadResponse* response) const {
  const std::string& name =
      request.model_name().empty() ? request.repository_name() : request.model_name();
  RETURN_IF_ERROR(registry_.Find(name).status());
  response->set_model_name(name);
  response->set_is_loaded(true);
  return absl::OkStatus();
}

// All that can be refused before a lazy model would be resolved by it is.
absl::Status InferenceService::Prepare(const inference::ModelInferRequest& request,
                                       inference::ModelInferResponse* response,
                                       PredictJob& job) const {
  ASSIGN_OR_RETURN(job.model, registry_.Find(request.model_name()));
  const auto view = job.model->view();
  ASSIGN_OR_RETURN(const InferSettings settings, ToInferSettings(request));
  job.min_step = settings.min_step;
  job.deadline = std::min(job.deadline, job.begin + settings.timeout);
  if (job.min_step <= view->step) {
    RETURN_IF_ERROR(CheckVersion(request.model_version(), "model_version", view->step));
  }
  ASSIGN_OR_RETURN(std::vector<InferOutput> outputs,
                   ToInferOutputs(request, view->spec->loss.kind));
  ASSIGN_OR_RETURN(InferInput input, ToInferInput(request, limits_));
  job.x = input.x;
  job.answer = [this, &request, response, outputs = std::move(outputs),
                converted = std::move(input.converted)](const Plan& plan, ConstMatrixView x,
                                                        Matrix* /*raw*/) {
    return InferInto(predictor_, plan, x, outputs, request, response);
  };
  return absl::OkStatus();
}

void InferenceService::Infer(const inference::ModelInferRequest& request,
                             inference::ModelInferResponse* response, PredictJob job) {
  const absl::Status prepared = Prepare(request, response, job);
  if (!prepared.ok()) return Predictor::Fail(std::move(job), prepared);
  predictor_.Run(std::move(job));
}

}  // namespace lazynorm
