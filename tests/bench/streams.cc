// How well models learn real and synthetic streams, row by row: test, then train.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <numbers>
#include <numeric>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "model/learner.h"
#include "model/loss.h"

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
    s.columns = row.size();
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
    std::vector<float> row = {float(std::sin(season)), float(std::cos(season)), std::stof(c[1]), std::stof(c[2]), std::stof(c[3]), std::stof(c[4])};
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
    s.y.push_back(10 * std::sin(std::numbers::pi * x[o[0]] * x[o[1]]) + 20 * std::pow(x[o[2]] - 0.5, 2) + 10 * x[o[3]] + 5 * x[o[4]] + e(g));
    s.x.push_back(x);
  }
  return s;
}

ModelSpec Spec(const Stream& s, const std::string& kind, uint64_t seed) {
  ModelSpec spec;
  spec.seed = seed;
  const char* h = getenv("HIDDEN");
  std::vector<int> hidden = {32, 16};
  if (h) { hidden.clear(); std::istringstream in(h); int v; while (in >> v) hidden.push_back(v); }
  spec.layers = Expand({.hidden = hidden, .out_features = s.classes > 2 ? s.classes : 1, .normalize_input = true});
  spec.loss.kind = s.classes == 0 ? LossKind::kMse : s.classes == 2 ? LossKind::kBceWithLogits : LossKind::kCrossEntropy;
  auto env = [](const char* n, double d) { const char* v = getenv(n); return v ? atof(v) : d; };
  const double lr = env("LR", 0.01);
  spec.optimizer = AdamSpec{.lr = lr, .beta2 = env("B2", 0.999)};
  if (kind == "torch") return spec;
  if (kind == "replay") {
    spec.learning.replay = {1000, 32};
    return spec;
  }
  const double mom = env("MOM", 0.01);
  for (LayerSpec& l : spec.layers) {
    if (auto* bn = std::get_if<BatchNormSpec>(&l)) {
      bn->training_statistics = TrainingStatistics::kRunning;
      bn->momentum = mom;
    }
  }
  if (kind == "running") return spec;
  if (kind == "running+replay") {
    spec.learning.replay = {1000, 32};
    return spec;
  }
  spec.learning.clip_grad_norm = env("CLIP", 1);
  spec.learning.normalize_targets = s.classes == 0;
  const int cap = env("CAP", 1000), rows = env("ROWS", 32);
  ExpertSpec none{}, one{.replay = {cap, rows}}, four{.replay = {cap, rows}, .updates_per_request = (int)env("UPD", 4)};
  if (kind == "none") spec.learning.experts = {none};
  else if (kind == "one") spec.learning.experts = {one};
  else if (kind == "four") spec.learning.experts = {four};
  else spec.learning.experts = {none, one, four};
  if (env("N4", 0) > 0) { ExpertSpec f{}; f.updates_per_request = 4; spec.learning.experts.push_back(f); }
  spec.learning.hedge_rate = env("RATE", 0.3);
  spec.learning.hedge_discount = env("DISC", 0.95);
  return spec;
}

double Run(const Stream& s, const ModelSpec& spec, int rows, double skip) {
  auto learner = *Learner::Create(spec, Limits());
  double score = 0;
  int64_t n = 0;
  const int total = s.y.size();
  for (int i = 0; i < total; i += rows) {
    const int m = std::min(rows, total - i);
    Matrix x(m, s.columns), y(m, 1);
    std::vector<int32_t> labels;
    for (int r = 0; r < m; ++r) {
      for (int c = 0; c < s.columns; ++c) x(r, c) = s.x[i + r][c];
      y(r, 0) = s.y[i + r];
      labels.push_back(s.y[i + r]);
    }
    if (auto plan = learner->MakePlan()) {
      auto p = *plan->Predict(ViewOf(x));
      for (int r = 0; r < m; ++r) {
        if (i + r < skip * total) continue;
        ++n;
        if (s.classes == 0) score += std::pow(p(r, 0) - y(r, 0), 2);
        else if (s.classes == 2) score += (p(r, 0) > 0) == (y(r, 0) > 0.5);
        else {
          int best = 0;
          for (int c = 1; c < s.classes; ++c) if (p(r, c) > p(r, best)) best = c;
          score += best == labels[r];
        }
      }
    }
    Batch b{.features = ViewOf(std::as_const(x))};
    if (s.classes > 0) b.labels = labels;
    else b.targets = ViewOf(std::as_const(y));
    auto result = learner->Apply(TrainCommand{.batch = b});
    if (!result.ok()) fprintf(stderr, "%s\n", result.status().ToString().c_str());
  }
  return s.classes == 0 ? std::sqrt(score / n) : score / n;
}

}  // namespace
}  // namespace lazynorm

int main(int argc, char** argv) {
  using namespace lazynorm;
  const std::string dir = argv[1];
  std::vector<Stream> streams;
  for (auto [f, c] : {std::pair{"chick_weights", 0}, {"image_segments", 7}, {"bananas", 2}, {"phishing", 2}, {"trump_approval", 0}}) {
    if (auto s = ReadCsv(dir + "/streams/" + f + ".csv", f, c)) streams.push_back(*s);
  }
  if (auto s = Weather(dir + "/seattle-weather.csv")) streams.push_back(*s);
  streams.push_back(Sea(4000));
  streams.push_back(Hyperplane(4000));
  streams.push_back(Friedman(4000));
  const int rows = argc > 2 ? atoi(argv[2]) : 1;
  std::vector<std::string> kinds = {"none", "one", "four", "stream"};
  if (argc > 3) { kinds.clear(); for (int i = 3; i < argc; ++i) kinds.push_back(argv[i]); }
  printf("%-22s", "");
  for (auto& k : kinds) printf("%16s", k.c_str());
  printf("\n");
  for (const Stream& s : streams) {
    printf("%-22s", s.name.c_str());
    for (auto& k : kinds) {
      double sum = 0;
      for (int seed = 0; seed < 3; ++seed) sum += Run(s, Spec(s, k, seed), rows, s.name == "seattle-weather" ? 0.25 : 0);
      printf("%16.4f", sum / 3);
      fflush(stdout);
    }
    printf("\n");
  }
}
