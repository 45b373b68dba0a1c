#include "server/rpc/transfer.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/errors.h"
#include "model/status_macros.h"
#include "server/convert/api.h"
#include "server/convert/spec.h"
#include "server/formats/onnx.h"
#include "server/formats/safetensors.h"
#include "server/hosting/hosted_model.h"

namespace lazynorm {
namespace {

constexpr size_t kPiece = size_t{1} << 20;
constexpr char kSpec[] = "lazynorm_spec";
constexpr char kStep[] = "lazynorm_step";

// What is taken of a model between two steps; making a file of it can wait.
struct Exported {
  v1::ExportFormat format;
  std::string version;
  absl::Status status;
  int64_t step = 0;
  Safetensors safetensors;
  std::optional<OnnxWriter> onnx;

  void Read(const Learner& learner);
  absl::StatusOr<std::string> File() &&;
};

void Exported::Read(const Learner& learner) {
  if (learner.lazy()) {
    status = MakeError(absl::StatusCode::kFailedPrecondition, "NOT_EXPORTABLE", "",
                       "the model is lazy: expected one whose widths are known");
    return;
  }
  step = learner.step();
  if (format == v1::EXPORT_FORMAT_ONNX) {
    onnx.emplace(learner.in_features(), learner.spec().loss);
    learner.AddTo(*onnx);
    return;
  }
  ModelSpec spec = learner.spec();
  spec.learning.shadow_of.clear();  // whose shadow it is belongs to this server
  safetensors.metadata = {{"format", "pt"}, {kStep, absl::StrCat(step)}, {kSpec, ToJson(spec)}};
  safetensors.tensors = learner.Tensors();
}

absl::StatusOr<std::string> Exported::File() && {
  RETURN_IF_ERROR(status);
  if (onnx.has_value()) return std::move(*onnx).Finish(step, version);
  return ToSafetensors(safetensors);
}

// A file on its way out, piece by piece as the caller takes them.
class Sending : public std::enable_shared_from_this<Sending> {
 public:
  Sending(std::shared_ptr<Transfer::ExportStream> stream, std::string file)
      : stream_(std::move(stream)), file_(std::move(file)) {}

  void SendNext() {
    if (sent_ >= file_.size()) return stream_->Finish(absl::OkStatus());
    v1::ExportModelResponse response;
    response.set_data(file_.substr(sent_, kPiece));
    sent_ += kPiece;
    stream_->Write(std::move(response), [self = shared_from_this()] { self->SendNext(); });
  }

 private:
  const std::shared_ptr<Transfer::ExportStream> stream_;
  const std::string file_;
  size_t sent_ = 0;
};

}  // namespace

// The messages of one ImportModel.
class ImportStream : public Transfer::ImportHandler {
 public:
  ImportStream(Transfer& transfer, Transfer::Describe describe)
      : transfer_(transfer), describe_(std::move(describe)), place_(++transfer.imports_) {}
  ~ImportStream() override { --transfer_.imports_; }

  void OnMessage(v1::ImportModelRequest request,
                 absl::AnyInvocable<void(absl::Status)> done) override {
    done(Take(std::move(request)));
  }

  void OnEnd(Reply<v1::Model> reply) override {
    transfer_.executor_.Run([this, reply = std::move(reply)]() mutable {
      const auto model =
          transfer_.Create(id_, spec_.has_value() ? &*spec_ : nullptr, std::exchange(file_, {}));
      if (!model.ok()) return reply(model.status());
      v1::Model answer;
      describe_(**model, &answer);
      reply(std::move(answer));
    });
  }

 private:
  absl::Status Take(v1::ImportModelRequest request) {
    if (place_ > Transfer::kMostImports) {
      return MakeError(
          absl::StatusCode::kResourceExhausted, "TOO_MANY_STREAMS", "",
          absl::StrCat("expected at most ", Transfer::kMostImports, " imports at once"));
    }
    if (!std::exchange(begun_, true)) {
      RETURN_IF_ERROR(CheckModelId(request.model_id()));
      id_ = request.model_id();
      if (request.has_spec()) spec_ = std::move(*request.mutable_spec());
    } else if ((!request.model_id().empty() && request.model_id() != id_) || request.has_spec()) {
      return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_ID",
                       request.has_spec() ? "spec" : "model_id", "expected with the first message");
    }
    const auto size = static_cast<int64_t>(file_.size() + request.data().size());
    if (size > transfer_.max_import_bytes_) {
      return LimitExceeded(
          "data", absl::StrCat("expected at most ", transfer_.max_import_bytes_, " bytes in all"));
    }
    file_ += request.data();
    return absl::OkStatus();
  }

  Transfer& transfer_;
  const Transfer::Describe describe_;
  const int place_;
  bool begun_ = false;
  std::string id_;
  std::optional<v1::ModelSpec> spec_;
  std::string file_;
};

void Transfer::Export(std::shared_ptr<ExportStream> stream) {
  const auto model = registry_.Find(stream->request().model());
  if (!model.ok()) return stream->Finish(model.status());
  const v1::ExportFormat format = stream->request().format();
  if (!v1::ExportFormat_IsValid(format)) {
    return stream->Finish(TargetMismatch("format", "SAFETENSORS or ONNX", absl::StrCat(format)));
  }
  auto exported = std::make_shared<Exported>();
  exported->format = format;
  exported->version = version_;
  auto read = [this, exported, stream](absl::Status status) {
    if (!status.ok()) return stream->Finish(std::move(status));
    executor_.Run([exported, stream] {
      absl::StatusOr<std::string> file = std::move(*exported).File();
      if (!file.ok()) return stream->Finish(file.status());
      std::make_shared<Sending>(stream, *std::move(file))->SendNext();
    });
  };
  (*model)->Inspect([exported](const Learner& learner) { exported->Read(learner); },
                    std::move(read));
}

std::unique_ptr<Transfer::ImportHandler> Transfer::Import(Describe describe) {
  return std::make_unique<ImportStream>(*this, std::move(describe));
}

absl::StatusOr<std::shared_ptr<HostedModel>> Transfer::Create(const std::string& id,
                                                              const v1::ModelSpec* given,
                                                              const std::string& file) {
  RETURN_IF_ERROR(CheckModelId(id));  // of a stream without a message
  ASSIGN_OR_RETURN(const Safetensors read, FromSafetensors(file));
  ModelSpec spec;
  if (given != nullptr) {
    ASSIGN_OR_RETURN(spec, FromProto(*given));
  } else if (const auto kept = read.metadata.find(kSpec); kept != read.metadata.end()) {
    ASSIGN_OR_RETURN(spec, SpecFromJson(kept->second));
    spec.learning.shadow_of.clear();  // none was written; the caller may not be allowed to use it
  } else {
    return InvalidSpec("spec", absl::StrCat("expected one, as the file has no ", kSpec));
  }
  if (read.tensors.empty()) return InvalidState("data", "expected tensors, got none");
  RETURN_IF_ERROR(registry_.CheckShadow(id, spec.learning.shadow_of));
  return registry_.Create(id, std::move(spec), read.tensors);
}

}  // namespace lazynorm
