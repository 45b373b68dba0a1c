// How well models learn real and synthetic streams: each request is predicted before it is learned
// from. Root mean squared error or accuracy, means of three seeds.
//
//   lazynorm_streams FOLDER [ROWS_PER_REQUEST]
//
// FOLDER holds seattle-weather.csv and streams/*.csv; what is not there is left out.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numbers>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "model/learner.h"

namespace lazynorm {
namespace {

struct Stream {
  std::string name;
  int columns = 0;
  int classes = 0;  // 0: regression
  std::vector<std::vector<float>> x;
  std::vector<float> y;
};

// header, features, last column the target
std::optional<Stream> ReadCsv(const std::string& path, const std::string& name, int classes) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  Stream s{.name = name, .classes = classes};
  std::string line, cell;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::vector<float> row;
    std::istringstream cells(line);
    while (std::getline(cells, cell, ',')) row.push_back(std::stof(cell));
    s.y.push_back(row.back());
    row.pop_back();
    s.columns = static_cast<int>(row.size());
    s.x.push_back(row);
  }
  return s;
}

std::optional<Stream> Weather(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  Stream s{.name = "seattle-weather"};
  std::string line, cell;
  std::getline(file, line);
  const std::vector<std::string> kinds = {"drizzle", "rain", "sun", "snow", "fog"};
  while (std::getline(file, line)) {
    std::vector<std::string> c;
    std::istringstream cells(line);
    while (std::getline(cells, cell, ',')) c.push_back(cell);
    const int month = std::stoi(c[0].substr(5, 2)), day = std::stoi(c[0].substr(8, 2));
    const double season = 2 * std::numbers::pi * ((month - 1) * 30.5 + day) / 366;
    std::vector<float> row = {float(std::sin(season)), float(std::cos(season)), std::stof(c[1]),
                              std::stof(c[2]),         std::stof(c[3]),         std::stof(c[4])};
    for (const auto& k : kinds) row.push_back(c[5].substr(0, k.size()) == k);
    if (!s.x.empty()) s.y.push_back(row[3]);
    s.x.push_back(row);
  }
  s.x.pop_back();
  s.columns = 11;
  return s;
}

// SEA concepts (Street & Kim 2001): x in [0,10]^3, class x1 + x2 <= theta, theta changes abruptly.
Stream Sea(int n) {
  Stream s{.name = "SEA (abrupt)", .columns = 3, .classes = 2};
  std::mt19937 g(7);
  std::uniform_real_distribution<float> u(0, 10);
  const float theta[4] = {8, 9, 7, 9.5};
  for (int i = 0; i < n; ++i) {
    std::vector<float> x = {u(g), u(g), u(g)};
    bool y = x[0] + x[1] <= theta[i * 4 / n];
    if (u(g) < 1) y = !y;
    s.x.push_back(x);
    s.y.push_back(y);
  }
  return s;
}

// Rotating hyperplane (Hulten et al. 2001): weights drift gradually.
Stream Hyperplane(int n) {
  Stream s{.name = "hyperplane (gradual)", .columns = 10, .classes = 2};
  std::mt19937 g(11);
  std::uniform_real_distribution<float> u(0, 1);
  std::vector<double> w(10), d(10, 1);
  for (auto& v : w) v = u(g);
  for (int i = 0; i < n; ++i) {
    std::vector<float> x;
    double sum = 0, half = 0;
    for (int j = 0; j < 10; ++j) {
      x.push_back(u(g));
      sum += w[j] * x[j];
      half += w[j] / 2;
    }
    bool y = sum >= half;
    if (u(g) < 0.05) y = !y;
    s.x.push_back(x);
    s.y.push_back(y);
    for (int j = 0; j < 5; ++j) {
      w[j] += d[j] * 0.002;
      if (u(g) < 0.01) d[j] = -d[j];
    }
  }
  return s;
}

// Friedman (1991) with global abrupt drift (Ikonomovska et al. 2011): roles of the columns change.
Stream Friedman(int n) {
  Stream s{.name = "Friedman (abrupt)", .columns = 10};
  std::mt19937 g(13);
  std::uniform_real_distribution<float> u(0, 1);
  std::normal_distribution<float> e(0, 1);
  const int order[3][5] = {{0, 1, 2, 3, 4}, {3, 5, 0, 1, 4}, {2, 9, 8, 1, 0}};
  for (int i = 0; i < n; ++i) {
    std::vector<float> x;
    for (int j = 0; j < 10; ++j) x.push_back(u(g));
    const int* o = order[i * 3 / n];
    s.y.push_back(10 * std::sin(std::numbers::pi * x[o[0]] * x[o[1]]) +
                  20 * std::pow(x[o[2]] - 0.5, 2) + 10 * x[o[3]] + 5 * x[o[4]] + e(g));
    s.x.push_back(x);
  }
  return s;
}

// The ways to learn that are compared, by name.
const char* const kWays[] = {"torch", "running", "replay", "running+replay", "stream"};

void SetRunning(double momentum, ModelSpec& spec) {
  for (LayerSpec& layer : spec.layers) {
    if (auto* norm = std::get_if<BatchNormSpec>(&layer)) {
      norm->training_statistics = TrainingStatistics::kRunning;
      norm->momentum = momentum;
    }
  }
}

// One setting for every stream: an MLP 32-16 with Adam 0.01, and what `way` adds to it.
ModelSpec Spec(const Stream& s, const std::string& way, uint64_t seed) {
  ModelSpec spec;
  spec.seed = seed;
  spec.layers = Expand(
      {.hidden = {32, 16}, .out_features = s.classes > 2 ? s.classes : 1, .normalize_input = true});
  spec.loss.kind = s.classes == 0   ? LossKind::kMse
                   : s.classes == 2 ? LossKind::kBceWithLogits
                                    : LossKind::kCrossEntropy;
  spec.optimizer = AdamSpec{.lr = 0.01};
  if (way == "running" || way == "running+replay") SetRunning(0.01, spec);
  if (way == "replay" || way == "running+replay") spec.learning.replay = {1000, 32};
  if (way != "stream") return spec;
  SetRunning(0.003, spec);
  const ReplaySpec replay{10000, 64};
  spec.learning = {.clip_grad_norm = 1,
                   .normalize_targets = s.classes == 0,
                   .experts = {{},
                               {.replay = replay},
                               {.replay = replay, .updates_per_request = 6},
                               {.updates_per_request = 4}}};
  return spec;
}

// Squared error, or whether the class is right.
double Score(const Stream& s, const float* out, float y) {
  if (s.classes == 0) return std::pow(out[0] - y, 2);
  if (s.classes == 2) return (out[0] > 0) == (y > 0.5f);
  return std::max_element(out, out + s.classes) - out == static_cast<int>(y);
}

double Run(const Stream& s, const ModelSpec& spec, int rows, double skip) {
  const auto learner = *Learner::Create(spec, Limits());
  const int total = static_cast<int>(s.y.size());
  double score = 0;
  int scored = 0;
  for (int first = 0; first < total; first += rows) {
    const int count = std::min(rows, total - first);
    Matrix x(count, s.columns), y(count, 1);
    std::vector<int32_t> labels;
    for (int i = 0; i < count; ++i) {
      std::copy_n(s.x[first + i].data(), s.columns, x.row(i).data());
      y(i, 0) = s.y[first + i];
      labels.push_back(static_cast<int32_t>(s.y[first + i]));
    }
    if (const auto plan = learner->MakePlan(); plan != nullptr) {
      const auto out = plan->Predict(ViewOf(std::as_const(x)));
      for (int i = 0; out.ok() && i < count; ++i) {
        if (first + i < skip * total) continue;
        score += Score(s, out->row(i).data(), y(i, 0));
        ++scored;
      }
    }
    Batch batch{.features = ViewOf(std::as_const(x))};
    if (s.classes > 0) {
      batch.labels = labels;
    } else {
      batch.targets = ViewOf(std::as_const(y));
    }
    // A last request of one row may be refused; nothing else is.
    (void)learner->Apply(TrainCommand{.batch = batch});
  }
  return s.classes == 0 ? std::sqrt(score / scored) : score / scored;
}

double MeanOfSeeds(const Stream& stream, const std::string& way, int rows) {
  constexpr int kSeeds = 3;
  const double skip = stream.name == "seattle-weather" ? 0.25 : 0;  // as its published figures do
  double sum = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    sum += Run(stream, Spec(stream, way, seed), rows, skip);
  }
  return sum / kSeeds;
}

std::vector<Stream> Streams(const std::string& folder) {
  constexpr std::pair<const char*, int> kFiles[] = {{"chick_weights", 0},
                                                    {"image_segments", 7},
                                                    {"bananas", 2},
                                                    {"phishing", 2},
                                                    {"trump_approval", 0}};
  std::vector<Stream> streams;
  for (const auto& [name, classes] : kFiles) {
    auto stream = ReadCsv(folder + "/streams/" + name + ".csv", name, classes);
    if (stream.has_value()) streams.push_back(*std::move(stream));
  }
  if (auto weather = Weather(folder + "/seattle-weather.csv")) streams.push_back(*weather);
  streams.push_back(Sea(4000));
  streams.push_back(Hyperplane(4000));
  streams.push_back(Friedman(4000));
  return streams;
}

}  // namespace
}  // namespace lazynorm

int main(int argc, char** argv) {
  using namespace lazynorm;
  if (argc < 2) {
    fprintf(stderr, "usage: lazynorm_streams FOLDER [ROWS_PER_REQUEST]\n");
    return 2;
  }
  const int rows = argc > 2 ? std::max(1, atoi(argv[2])) : 1;
  printf("%-22s", "");
  for (const char* way : kWays) printf("%16s", way);
  printf("\n");
  for (const Stream& stream : Streams(argv[1])) {
    printf("%-22s", stream.name.c_str());
    for (const std::string way : kWays) {
      // Batch statistics need two rows.
      const bool one_row = rows == 1 && (way == "torch" || way == "replay");
      one_row ? printf("%16s", "-") : printf("%16.4f", MeanOfSeeds(stream, way, rows));
      fflush(stdout);
    }
    printf("\n");
  }
}
