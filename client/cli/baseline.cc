#include "client/cli/baseline.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

// For losses on quantities.
class QuantityBaseline final : public Baseline {
 public:
  QuantityBaseline(const v1::Loss& loss, bool mean, bool ahead)
      : loss_(loss), mean_(mean), ahead_(ahead) {}

  double Score(const Example& row) override {
    forecast_.resize(row.targets.size(), 0);
    if (ahead_ && !mean_) forecast_.assign(row.present.begin(), row.present.end());
    double sum = 0;
    for (size_t k = 0; k < row.targets.size(); ++k) {
      sum += ElementLoss(loss_, forecast_[k], row.targets[k]);
    }
    Learn(row);
    return sum / static_cast<double>(row.targets.size());
  }

 private:
  void Learn(const Example& row) {
    ++rows_;
    const double share = mean_ ? 1 / rows_ : 1;
    for (size_t k = 0; k < row.targets.size(); ++k) {
      forecast_[k] += share * (row.targets[k] - forecast_[k]);
    }
  }

  const v1::Loss loss_;
  const bool mean_;
  const bool ahead_;
  double rows_ = 0;
  std::vector<double> forecast_;
};

// The probabilities of the classes of one output.
class ClassForecast {
 public:
  ClassForecast(int classes, bool persistence)
      : persistence_(persistence), counts_(std::max(classes, 2), 0) {}

  // Of `label`, before it is known; `latest` is the class seen last, negative if none was.
  double Probability(int label, int latest) const {
    const double classes = static_cast<double>(counts_.size());
    if (!persistence_) return (CountOf(label) + 1) / (rows_ + classes);
    if (latest < 0) return 1 / classes;
    const double same = (repeats_ + 1) / (transitions_ + 2);
    return label == latest ? same : (1 - same) / (classes - 1);
  }

  void Learn(int label, int latest) {
    ++rows_;
    if (static_cast<size_t>(label) < counts_.size()) ++counts_[label];
    if (latest < 0) return;
    ++transitions_;
    if (label == latest) ++repeats_;
  }

 private:
  double CountOf(int label) const {
    return static_cast<size_t>(label) < counts_.size() ? counts_[label] : 0;
  }

  bool persistence_;
  std::vector<double> counts_;
  double rows_ = 0, transitions_ = 0, repeats_ = 0;
};

// For cross entropy: one output of many classes. For BCE: many outputs of two.
class ClassBaseline final : public Baseline {
 public:
  ClassBaseline(const v1::Model& model, bool persistence, bool ahead)
      : cross_entropy_(model.spec().loss().kind() == v1::LOSS_KIND_CROSS_ENTROPY),
        ahead_(ahead),
        pos_weight_(model.spec().loss().has_pos_weight() ? model.spec().loss().pos_weight() : 1) {
    const int outputs = std::max(model.out_features(), 1);
    forecasts_.assign(cross_entropy_ ? 1 : outputs,
                      ClassForecast(cross_entropy_ ? outputs : 2, persistence));
    latest_.assign(forecasts_.size(), -1);
  }

  double Score(const Example& row) override {
    double sum = 0;
    for (size_t k = 0; k < forecasts_.size(); ++k) {
      const int label = cross_entropy_ ? row.label : row.targets[k] > 0.5;
      if (ahead_) latest_[k] = cross_entropy_ ? row.present_label : row.present[k] > 0.5;
      const double weight = !cross_entropy_ && label == 1 ? pos_weight_ : 1;
      sum -= weight * std::log(forecasts_[k].Probability(label, latest_[k]));
      forecasts_[k].Learn(label, latest_[k]);
      latest_[k] = label;
    }
    return sum / static_cast<double>(forecasts_.size());
  }

 private:
  const bool cross_entropy_;
  const bool ahead_;
  const double pos_weight_;
  std::vector<ClassForecast> forecasts_;
  std::vector<int> latest_;
};

}  // namespace

bool IsClassificationLoss(v1::LossKind loss) {
  return loss == v1::LOSS_KIND_CROSS_ENTROPY || loss == v1::LOSS_KIND_BCE_WITH_LOGITS;
}

absl::Status CheckBaseline(absl::string_view kind, v1::LossKind loss) {
  const char* constant = IsClassificationLoss(loss) ? "majority" : "mean";
  if (kind == "persistence" || kind == constant) return absl::OkStatus();
  return InputError(absl::StrCat("--shadow-baseline ", kind,
                                 " does not fit the model's loss; use persistence or ", constant));
}

absl::StatusOr<std::unique_ptr<Baseline>> MakeBaseline(absl::string_view kind,
                                                       const v1::Model& model, bool ahead) {
  const v1::LossKind loss = model.spec().loss().kind();
  if (absl::Status status = CheckBaseline(kind, loss); !status.ok()) return status;
  const bool classes = IsClassificationLoss(loss);
  const bool persistence = kind == "persistence";
  std::unique_ptr<Baseline> baseline;
  if (classes) {
    baseline = std::make_unique<ClassBaseline>(model, persistence, ahead);
  } else {
    baseline = std::make_unique<QuantityBaseline>(model.spec().loss(), !persistence, ahead);
  }
  return baseline;
}

double ElementLoss(const v1::Loss& loss, double prediction, double target) {
  const double distance = std::abs(prediction - target);
  switch (loss.kind()) {
    case v1::LOSS_KIND_L1:
      return distance;
    case v1::LOSS_KIND_SMOOTH_L1: {
      const double beta = loss.has_beta() ? loss.beta() : 1;
      return distance < beta ? distance * distance / (2 * beta) : distance - beta / 2;
    }
    case v1::LOSS_KIND_HUBER: {
      const double delta = loss.has_delta() ? loss.delta() : 1;
      return distance < delta ? distance * distance / 2 : delta * (distance - delta / 2);
    }
    default:
      return distance * distance;
  }
}

double ErrorOf(v1::LossKind loss, double mean_loss) {
  const bool squared = loss == v1::LOSS_KIND_MSE || loss == v1::LOSS_KIND_UNSPECIFIED;
  return squared ? std::sqrt(mean_loss) : mean_loss;
}

std::string ErrorName(v1::LossKind loss) {
  switch (loss) {
    case v1::LOSS_KIND_L1:
      return "mean absolute error";
    case v1::LOSS_KIND_SMOOTH_L1:
      return "smooth L1 loss";
    case v1::LOSS_KIND_HUBER:
      return "Huber loss";
    case v1::LOSS_KIND_BCE_WITH_LOGITS:
    case v1::LOSS_KIND_CROSS_ENTROPY:
      return "log loss";
    default:
      return "root mean squared error";
  }
}

}  // namespace lazynorm
