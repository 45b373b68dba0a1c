#include "tests/bench/compute_bench.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/kernels.h"
#include "model/learner.h"
#include "model/status_macros.h"
#include "tests/bench/fma.h"
#include "tests/bench/median.h"
#include "tests/bench/shapes.h"
#include "tests/bench/stopwatch.h"

namespace lazynorm {
namespace {

constexpr int kBatches = 16;
constexpr int kPredicted[] = {1, 32, 1024};
constexpr int kGemm = 256;

// Rows as they come: the same ones over and over would let the processor learn their branches.
struct Rows {
  Rows(int rows, const Shape& shape)
      : x(Matrix::Random(rows, shape.in)), y(Matrix::Random(rows, shape.out)) {}
  Matrix x, y;
};

// A model that learns, and how.
class Subject {
 public:
  static absl::StatusOr<std::unique_ptr<Subject>> Make(const Shape& shape) {
    std::unique_ptr<Subject> subject(new Subject(shape));
    ModelSpec spec{.layers = Expand({.hidden = shape.hidden, .out_features = shape.out})};
    ASSIGN_OR_RETURN(subject->learner_, Learner::Create(spec, Limits()));
    RETURN_IF_ERROR(subject->Step());
    return subject;
  }

  absl::Status Step() {
    const Rows& rows = stream_[next_++ % kBatches];
    const Batch batch = {.features = ViewOf(rows.x), .targets = ViewOf(rows.y)};
    return learner_->Apply(TrainCommand{.batch = batch}).status();
  }

  double StepMicros() {
    return MicrosOf([this] { failed_.Update(Step()); });
  }
  double PlanMicros() {
    return MicrosOf([this] { learner_->MakePlan(); });
  }
  double PredictMicros(int rows) {
    const std::shared_ptr<const Plan> plan = learner_->MakePlan();
    const Matrix x = Matrix::Random(rows, plan->in_features());
    Matrix y(rows, plan->out_features());
    return MicrosOf([&] { plan->Predict(ViewOf(std::as_const(x)), ViewOf(y)); });
  }
  const absl::Status& failed() const { return failed_; }

 private:
  explicit Subject(const Shape& shape) {
    for (int i = 0; i < kBatches; ++i) stream_.emplace_back(shape.rows, shape);
  }

  std::vector<Rows> stream_;
  std::unique_ptr<Learner> learner_;
  size_t next_ = 0;
  absl::Status failed_;
};

// One number, measured once a round.
struct Series {
  std::function<double()> measure;
  std::vector<double> values;
};

double MedianOver(const Series& a, const Series& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.values.size(); ++i) ratios.push_back(a.values[i] / b.values[i]);
  return Median(ratios);
}

// One line of the table: CPU time on a level, the multiplications in it, and libtorch's time.
struct Line {
  std::string what;
  std::string level;
  double flops, more_flops;  // more: of what libtorch does not do
  Series own, torch, peak;
};

Row ToRow(const Line& line, bool with_torch) {
  std::vector<double> shares, more;
  for (size_t i = 0; i < line.own.values.size(); ++i) {
    const double least = 1e-3 / line.peak.values[i] / line.own.values[i];
    shares.push_back(line.flops * least);
    more.push_back((line.flops + line.more_flops) * least);
  }
  Row row{.what = line.what,
          .who = line.level,
          .values = {{"us", Median(line.own.values)},
                     {"of FMA bound", Median(shares)},
                     {"with forecast", Median(more)}}};
  const double ratio = with_torch ? MedianOver(line.torch, line.own) : 0;
  row.values.emplace_back("libtorch us", with_torch ? Median(line.torch.values) : 0);
  row.values.emplace_back("times faster", ratio);
  return row;
}

double OwnGemm(const Kernels& kernels) {
  static const auto* const a = new Matrix(Matrix::Random(kGemm, kGemm));
  static auto* const c = new Matrix(kGemm, kGemm);
  std::vector<float> packed(kernels.packed_size(kGemm, kGemm));
  kernels.pack({a->data(), kGemm, 1}, kGemm, kGemm, packed.data());
  const double micros = MicrosOf([&] {
    kernels.gemm({kGemm, kGemm, kGemm}, {a->data(), kGemm, 1}, packed.data(), nullptr, false,
                 c->data());
  });
  return 2.0 * kGemm * kGemm * kGemm / micros / 1e3;
}

std::vector<Row> MeasureRates(int rounds, TorchPeer* torch) {
  std::vector<Row> rows;
  for (const Kernels* kernels : AvailableKernels()) {
    std::vector<double> peak, gemm, blas;
    for (int i = 0; i < rounds; ++i) {
      peak.push_back(PeakGigaflops(kernels->level));
      gemm.push_back(OwnGemm(*kernels));
      blas.push_back(torch == nullptr ? 0 : torch->Ask(absl::StrCat("gemm ", kGemm)));
    }
    rows.push_back({.what = "GFLOP/s of one core",
                    .who = std::string(kernels->level),
                    .values = {{"FMA peak", Median(peak)},
                               {"matrix product", Median(gemm)},
                               {"OpenBLAS", Median(blas)}}});
  }
  return rows;
}

class ComputeBench {
 public:
  explicit ComputeBench(TorchPeer* torch) : torch_(torch) {}

  absl::Status Add(int index) {
    const Shape& shape = Shapes()[index];
    for (const Kernels* kernels : AvailableKernels()) {
      const std::string level(kernels->level);
      UseKernels(level);
      ASSIGN_OR_RETURN(std::unique_ptr<Subject> made, Subject::Make(shape));
      Subject* const subject = subjects_.emplace_back(std::move(made)).get();
      AddLine(level, absl::StrCat("step ", shape.name, ", ", shape.rows, " rows"), StepWork(shape),
              ForecastWork(shape), absl::StrCat("step ", index),
              [subject] { return subject->StepMicros(); });
      if (kernels != AvailableKernels().front()) continue;
      for (const int rows : kPredicted) {
        AddLine(level,
                absl::StrCat("predict ", shape.name, ", ", rows, rows > 1 ? " rows" : " row"),
                rows * RowWork(shape), 0, absl::StrCat("predict ", index, " ", rows),
                [subject, rows] { return subject->PredictMicros(rows); });
      }
      AddLine(level, absl::StrCat("new plan ", shape.name), 0, 0, "",
              [subject] { return subject->PlanMicros(); });
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Row>> Run(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      for (Line& line : lines_) {
        UseKernels(line.level);
        for (Series* series : {&line.peak, &line.own, &line.torch}) {
          series->values.push_back(series->measure());
        }
      }
    }
    for (const auto& subject : subjects_) RETURN_IF_ERROR(subject->failed());
    std::vector<Row> rows;
    for (const Line& line : lines_) {
      rows.push_back(ToRow(line, line.torch.values.front() > 0));
    }
    return rows;
  }

 private:
  void AddLine(const std::string& level, std::string what, int64_t work, int64_t more,
               std::string question, std::function<double()> own) {
    lines_.push_back({.what = std::move(what),
                      .level = level,
                      .flops = 2.0 * static_cast<double>(work),
                      .more_flops = 2.0 * static_cast<double>(more),
                      .own = {std::move(own), {}},
                      .torch = {[torch = question.empty() ? nullptr : torch_, question] {
                                  return torch == nullptr ? 0.0 : torch->Ask(question);
                                },
                                {}},
                      .peak = {[level] { return PeakGigaflops(level); }, {}}});
  }

  TorchPeer* const torch_;
  std::vector<std::unique_ptr<Subject>> subjects_;
  std::vector<Line> lines_;
};

}  // namespace

absl::StatusOr<std::vector<Row>> MeasureCompute(int rounds, TorchPeer* torch) {
  std::vector<Row> rows = MeasureRates(rounds, torch);
  ComputeBench bench(torch);
  for (size_t i = 0; i < Shapes().size(); ++i) RETURN_IF_ERROR(bench.Add(static_cast<int>(i)));
  ASSIGN_OR_RETURN(const std::vector<Row> measured, bench.Run(rounds));
  UseKernels(AvailableKernels().front()->level);
  rows.insert(rows.end(), measured.begin(), measured.end());
  return rows;
}

absl::StatusOr<std::vector<Row>> MeasureGrowth(int rounds) {
  const Shape middle{.name = "", .in = 64, .hidden = {64, 64}, .out = 1, .rows = 32};
  std::vector<std::pair<std::string, Shape>> shapes;
  for (const int rows : {2, 8, 32, 128, 512}) {
    shapes.emplace_back(absl::StrCat(rows, " rows"), middle).second.rows = rows;
  }
  for (const int width : {16, 64, 256, 1024}) {
    shapes.emplace_back(absl::StrCat("width ", width), middle).second.hidden = {width, width};
  }
  for (const int depth : {1, 2, 4, 8}) {
    shapes.emplace_back(absl::StrCat("depth ", depth), middle).second.hidden.assign(depth, 64);
  }
  std::vector<Row> table;
  for (const auto& [what, shape] : shapes) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Subject> subject, Subject::Make(shape));
    std::vector<double> step, predict;
    for (int i = 0; i < rounds; ++i) {
      step.push_back(subject->StepMicros());
      predict.push_back(subject->PredictMicros(shape.rows));
    }
    RETURN_IF_ERROR(subject->failed());
    table.push_back({.what = absl::StrCat("growth 64-64-64-1, 32 rows"),
                     .who = what,
                     .values = {{"step us", Median(step)},
                                {"predict us", Median(predict)},
                                {"step ns a row", Median(step) * 1e3 / shape.rows}}});
  }
  return table;
}

}  // namespace lazynorm
