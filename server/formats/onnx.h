#ifndef LAZYNORM_SERVER_FORMATS_ONNX_H_
#define LAZYNORM_SERVER_FORMATS_ONNX_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/plan_writer.h"
#include "model/spec.h"
#include "onnx/onnx.pb.h"

namespace lazynorm {

// Writes a network as it predicts into an ONNX model, opset 17, IR 8: input "features" [batch,
// in_features], outputs "predictions" [batch, out_features] and, of classifiers, "probabilities".
// Layers keep their own operators: Gemm, BatchNormalization, Relu, ... ; what RUNNING cuts is a
// Clip, the scale of the targets a Mul and an Add, experts a weighted sum. Used like PlanBuilder,
// then Finish. Copies what it is given. Thread-compatible.
class OnnxWriter final : public PlanWriter {
 public:
  OnnxWriter(int in_features, const LossSpec& loss);

  void BeginExpert(double weight) override;
  void BeginLayer(int index) override;
  void Linear(ConstMatrixView weight, const float* bias) override;
  void Normalize(const double* mean, const double* var, double eps, const float* weight,
                 const float* bias, float cut) override;
  void NormalizeByBatch(double eps, const float* weight, const float* bias) override;
  void Activate(const ActivationSpec& activation) override;
  void Denormalize(const Eigen::ArrayXd& mean, const Eigen::ArrayXd& std) override;

  // The model's bytes. FAILED_PRECONDITION (NOT_EXPORTABLE) if a batch norm tracks no statistics.
  absl::StatusOr<std::string> Finish(int64_t step, absl::string_view version) &&;

 private:
  struct Expert {
    float weight = 1;
    std::string value;  // what it puts out
  };

  // Adds a node. Returns the name of its output, which is value_ from now on.
  const std::string& Add(absl::string_view op, std::vector<std::string> inputs);
  onnx::NodeProto& last() { return *model_.mutable_graph()->mutable_node()->rbegin(); }
  void SetAttribute(const char* name, float value);
  void SetAttribute(const char* name, int64_t value);
  // Each adds a constant and returns its name.
  std::string Constant(absl::string_view name, const std::vector<int64_t>& dims,
                       const float* values);
  std::string Vector(absl::string_view name, const Eigen::ArrayXf& values);
  std::string Scalar(absl::string_view name, float value);
  std::string Unique(absl::string_view name);

  void Gelu();
  void EndExpert();
  // The sum of what the experts put out, behind `op` if it is not empty, each times its weight.
  std::string WeightedSum(absl::string_view op, bool negated);
  // The logarithm of what is an average of probabilities.
  std::string LogOf(const std::string& average);
  void Average();
  void AddOutput(const char* name);

  const LossKind loss_;
  const int in_features_;
  onnx::ModelProto model_;
  absl::Status status_;
  std::vector<Expert> experts_;  // but for the one under way
  float weight_ = 1;             // of that one
  std::string prefix_;           // of the names of what is added
  std::string value_;
  int width_;
  int out_features_ = 0;
  bool begun_ = false;  // an expert is under way
  std::set<std::string> names_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_FORMATS_ONNX_H_
