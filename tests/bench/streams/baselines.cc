#include "tests/bench/streams/baselines.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <map>

namespace lazynorm {
namespace {

// What predicts and learns row by row.
class RowByRow : public Contestant {
 public:
  std::vector<float> Answer(ConstMatrixView x) override {
    std::vector<float> answers;
    for (int64_t i = 0; i < x.rows(); ++i) answers.push_back(AnswerRow(RowOf(x, i)));
    return answers;
  }
  void Learn(ConstMatrixView x, const float* y) override {
    for (int64_t i = 0; i < x.rows(); ++i) LearnRow(RowOf(x, i), y[i]);
  }

 protected:
  virtual float AnswerRow(const Eigen::VectorXd& x) = 0;
  virtual void LearnRow(const Eigen::VectorXd& x, float y) = 0;

 private:
  static Eigen::VectorXd RowOf(ConstMatrixView x, int64_t i) {
    return ToEigen(x).row(i).cast<double>();
  }
};

class Persistence : public RowByRow {
  float AnswerRow(const Eigen::VectorXd&) override { return last_; }
  void LearnRow(const Eigen::VectorXd&, float y) override { last_ = y; }

  float last_ = 0;
};

class Mean : public RowByRow {
  float AnswerRow(const Eigen::VectorXd&) override { return mean_; }
  void LearnRow(const Eigen::VectorXd&, float y) override { mean_ += (y - mean_) / ++rows_; }

  double mean_ = 0;
  int64_t rows_ = 0;
};

class Majority : public RowByRow {
  float AnswerRow(const Eigen::VectorXd&) override {
    const auto best = std::max_element(counts_.begin(), counts_.end(),
                                       [](auto& a, auto& b) { return a.second < b.second; });
    return best == counts_.end() ? 0 : best->first;
  }
  void LearnRow(const Eigen::VectorXd&, float y) override { ++counts_[y]; }

  std::map<float, int64_t> counts_;
};

class LeastSquares : public RowByRow {
 public:
  explicit LeastSquares(int64_t features)
      : weights_(Eigen::VectorXd::Zero(features + 1)),
        covariance_(Eigen::MatrixXd::Identity(features + 1, features + 1) * 1e3) {}

 private:
  static Eigen::VectorXd WithOne(const Eigen::VectorXd& x) {
    Eigen::VectorXd row(x.size() + 1);
    row << x, 1;
    return row;
  }
  float AnswerRow(const Eigen::VectorXd& x) override { return weights_.dot(WithOne(x)); }
  void LearnRow(const Eigen::VectorXd& x, float y) override {
    const Eigen::VectorXd row = WithOne(x);
    const Eigen::VectorXd spread = covariance_ * row;
    const Eigen::VectorXd gain = spread / (1 + row.dot(spread));
    weights_ += gain * (y - weights_.dot(row));
    covariance_ -= gain * spread.transpose();
  }

  Eigen::VectorXd weights_;
  Eigen::MatrixXd covariance_;
};

class Logistic : public RowByRow {
 public:
  Logistic(int64_t features, int classes)
      : mean_(Eigen::VectorXd::Zero(features)),
        squares_(Eigen::VectorXd::Zero(features)),
        weights_(Eigen::MatrixXd::Zero(classes, features)),
        bias_(Eigen::VectorXd::Zero(classes)) {}

 private:
  Eigen::VectorXd Standardised(const Eigen::VectorXd& x) const {
    if (rows_ < 2) return Eigen::VectorXd::Zero(x.size());
    const auto deviation = (squares_.array() / rows_ + 1e-12).sqrt();
    return ((x - mean_).array() / deviation).cwiseMax(-10).cwiseMin(10);
  }
  float AnswerRow(const Eigen::VectorXd& x) override {
    Eigen::Index best;
    (weights_ * Standardised(x) + bias_).maxCoeff(&best);
    return static_cast<float>(best);
  }
  void LearnRow(const Eigen::VectorXd& x, float y) override {
    const Eigen::VectorXd before = x - mean_;
    mean_ += before / ++rows_;
    squares_.array() += before.array() * (x - mean_).array();
    const Eigen::VectorXd row = Standardised(x);
    Eigen::VectorXd scores = weights_ * row + bias_;
    scores = (scores.array() - scores.maxCoeff()).exp();
    Eigen::VectorXd gradient = scores / scores.sum();
    gradient(static_cast<Eigen::Index>(y)) -= 1;
    weights_ -= kRate * gradient * row.transpose();
    bias_ -= kRate * gradient;
  }

  static constexpr double kRate = 0.05;
  int64_t rows_ = 0;
  Eigen::VectorXd mean_, squares_;
  Eigen::MatrixXd weights_;
  Eigen::VectorXd bias_;
};

}  // namespace

std::unique_ptr<Contestant> MakePersistence() {
  return std::make_unique<Persistence>();
}

std::unique_ptr<Contestant> MakeMeanOrMajority(const Stream& stream) {
  if (stream.classes == 0) return std::make_unique<Mean>();
  return std::make_unique<Majority>();
}

std::unique_ptr<Contestant> MakeLinear(const Stream& stream) {
  if (stream.classes == 0) return std::make_unique<LeastSquares>(stream.x.cols());
  return std::make_unique<Logistic>(stream.x.cols(), stream.classes);
}

}  // namespace lazynorm
