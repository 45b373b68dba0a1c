// A spec, as a message, a textproto or JSON: what is accepted can be built, trained and predicted
// with, and survives both of its forms.
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "model/learner.h"
#include "server/convert/spec.h"
#include "tests/fuzz/fuzz.h"

namespace lazynorm::fuzz {
namespace {

absl::StatusOr<ModelSpec> ReadSpec(absl::string_view bytes) {
  if (!bytes.empty() && bytes[0] == '{') return SpecFromJson(bytes);
  v1::ModelSpec proto;
  if (!Read(bytes, &proto)) return InvalidSpec("spec", "expected a spec");
  return FromProto(proto);
}

// Whose sign protobuf does not read back from JSON.
bool HasNegativeZero(const std::string& json) {
  return absl::StrContains(json, ":-0,") || absl::StrContains(json, ":-0}");
}

void CheckRoundTrip(const ModelSpec& spec) {
  const std::string json = ToJson(spec);
  const auto from_json = SpecFromJson(json);
  Require(from_json.ok(), from_json.status().ToString());
  Require(HasNegativeZero(json) || ToJson(*from_json) == json, "JSON is read back");
  const auto from_proto = FromProto(ToWholeProto(spec));
  Require(from_proto.ok() && ToJson(*from_proto) == json, "a message is read back");
  Require(FromProto(ToProto(spec)).ok(), "what is shown is accepted");
}

void TrainAndPredict(Learner& learner, int width) {
  const Matrix x = Matrix::NullaryExpr(3, width, [](auto i, auto j) { return 0.5f * i - j; });
  const int outputs = OutFeatures(learner.spec(), width);
  const Matrix y = Matrix::Constant(3, outputs, 1.0f);
  const std::vector<int> labels(3, 1);
  Batch batch{.features = ViewOf(x), .targets = ViewOf(y), .labels = {}, .sample_weights = {}};
  if (learner.spec().loss.kind == LossKind::kCrossEntropy) {
    batch.targets = {};
    batch.labels = labels;
  }
  for (int i = 0; i < 3; ++i) Accepted(learner.Apply(TrainCommand{.batch = batch}));
  if (learner.lazy()) return;
  const auto predicted = learner.MakePlan()->Predict(ViewOf(x));
  Require(predicted.ok() && predicted->cols() == outputs, "what has learned predicts");
}

}  // namespace

FUZZ(bytes) {
  const auto spec = ReadSpec(bytes);
  if (!Accepted(spec) || !Accepted(Validate(*spec, kLimits))) return;
  CheckRoundTrip(*spec);
  if (!IsCheap(spec->learning)) return;
  const auto learner = Learner::Create(*spec, kLimits);
  if (!Accepted(learner)) return;
  const int width = ExpectedInFeatures(*spec);
  TrainAndPredict(**learner, width > 0 ? width : 2);
}

}  // namespace lazynorm::fuzz
