#ifndef LAZYNORM_CLIENT_CLI_BASELINE_H_
#define LAZYNORM_CLIENT_CLI_BASELINE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/examples.h"
#include "lazynorm/v1/model_service.pb.h"

namespace lazynorm {

// A forecaster that needs no model, scored row by row with the model's own loss. Thread-compatible.
class Baseline {
 public:
  virtual ~Baseline() = default;
  // The loss of the forecast for this row, made before its target is looked at.
  virtual double Score(const Example& row) = 0;
};

// InputError: a kind of baseline that does not fit the loss.
absl::Status CheckBaseline(absl::string_view kind, v1::LossKind loss);

// `kind`, for a loss on quantities:
//   persistence  the target of the row before; with --ahead this row's own value
//   mean         the mean of the targets so far
// and for a classification loss, as probabilities whose log loss is taken:
//   majority     how frequent each class was so far, (count + 1) / (rows + classes)
//   persistence  the class of the row before (with --ahead: this row's), as likely to come again as
//                it has been so far, (repeats + 1) / (rows + 2); the others share the rest
// Before the first target the forecast is 0, or all classes alike.
// What CheckBaseline says.
absl::StatusOr<std::unique_ptr<Baseline>> MakeBaseline(absl::string_view kind,
                                                       const v1::Model& model, bool ahead);

// One element's loss (torch.nn: MSELoss, L1Loss, SmoothL1Loss, HuberLoss), for a loss on
// quantities.
double ElementLoss(const v1::Loss& loss, double prediction, double target);

// A mean loss as people read it: the root for MSE (root mean squared error), else as it is.
double ErrorOf(v1::LossKind loss, double mean_loss);
// What ErrorOf gives: "root mean squared error", "mean absolute error", "log loss", ...
std::string ErrorName(v1::LossKind loss);

bool IsClassificationLoss(v1::LossKind loss);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_BASELINE_H_
