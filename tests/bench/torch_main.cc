// lazynorm_torch: what libtorch takes for the work that lazynorm_bench measures. It answers each
// line of its input with a number:
//   step I          microseconds of a learning step of Shapes()[I]
//   predict I ROWS  microseconds of ROWS rows in evaluation mode
//   gemm N          billions of multiplications and additions a second, of two N x N matrices
#include <malloc.h>
#include <torch/torch.h>

#include <cstdio>
#include <map>
#include <memory>

#include "tests/bench/shapes.h"
#include "tests/bench/stopwatch.h"

namespace lazynorm {
namespace {

struct Trained {
  torch::nn::Sequential network;
  std::unique_ptr<torch::optim::Adam> adam;
  torch::Tensor x, y;
};

Trained Make(const Shape& shape) {
  Trained t;
  int width = shape.in;
  for (const int hidden : shape.hidden) {
    t.network->push_back(torch::nn::Linear(width, hidden));
    t.network->push_back(torch::nn::BatchNorm1d(hidden));
    t.network->push_back(torch::nn::ReLU());
    width = hidden;
  }
  t.network->push_back(torch::nn::Linear(width, shape.out));
  t.adam = std::make_unique<torch::optim::Adam>(t.network->parameters());
  t.x = torch::rand({shape.rows, shape.in});
  t.y = torch::rand({shape.rows, shape.out});
  return t;
}

Trained& TrainedOf(int index) {
  static auto* const known = new std::map<int, Trained>();
  auto found = known->find(index);
  if (found == known->end()) found = known->emplace(index, Make(Shapes().at(index))).first;
  return found->second;
}

double Step(Trained& t) {
  t.network->train();
  return MicrosOf([&t] {
    t.adam->zero_grad();
    torch::mse_loss(t.network->forward(t.x), t.y).backward();
    t.adam->step();
  });
}

double Predict(Trained& t, int rows) {
  const torch::InferenceMode inference;
  t.network->eval();
  const torch::Tensor x = torch::rand({rows, t.x.size(1)});
  return MicrosOf([&] { t.network->forward(x); });
}

double Gemm(int n) {
  const torch::InferenceMode inference;
  const torch::Tensor a = torch::rand({n, n}), b = torch::rand({n, n});
  torch::Tensor c = torch::rand({n, n});
  return 2.0 * n * n * n / MicrosOf([&] { torch::mm_out(c, a, b); }) / 1e3;
}

void Serve() {
  char line[80];
  while (fgets(line, sizeof(line), stdin) != nullptr) {
    int a = 0, b = 0;
    if (sscanf(line, "step %d", &a) == 1) {
      printf("%.4f\n", Step(TrainedOf(a)));
    } else if (sscanf(line, "predict %d %d", &a, &b) == 2) {
      printf("%.4f\n", Predict(TrainedOf(a), b));
    } else if (sscanf(line, "gemm %d", &a) == 1) {
      printf("%.4f\n", Gemm(a));
    } else {
      return;
    }
    fflush(stdout);
  }
}

}  // namespace
}  // namespace lazynorm

int main() {
  // As lazynormd does: without it libtorch spends most of its time on page faults.
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
  at::set_num_threads(1);
  lazynorm::Serve();
  return 0;
}
