#include "tests/bench/fma.h"

#include <cstdint>

#include "tests/bench/stopwatch.h"

namespace lazynorm {
namespace {

// As many chains as hide how long one multiply-add takes.
constexpr int kChains = 12;
constexpr int64_t kTurns = 100'000;

template <int kLanes>
struct Lanes {
  typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
};

// Inlined into functions that say which instructions there are.
template <int kLanes>
__attribute__((always_inline)) inline float Multiply(float by) {
  using Floats = typename Lanes<kLanes>::Floats;
  Floats chains[kChains];
  for (int c = 0; c < kChains; ++c) chains[c] = Floats{} + by * static_cast<float>(c);  // not alike
  const Floats factor = Floats{} + by;
  for (int64_t i = 0; i < kTurns; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) chains[c] = chains[c] * factor + factor;
  }
  float sum = 0;
  for (const Floats& chain : chains) sum += chain[0];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) float MultiplyV4(float by) {
  return Multiply<16>(by);
}
__attribute__((target("avx2,fma"))) float MultiplyV3(float by) {
  return Multiply<8>(by);
}
#endif
float MultiplyOthers(float by) {
  return Multiply<4>(by);
}

}  // namespace

double PeakGigaflops(absl::string_view level) {
  float (*multiply)(float) = MultiplyOthers;
  int lanes = 4;
#if defined(__x86_64__)
  if (level == "v4") multiply = MultiplyV4, lanes = 16;
  if (level == "v3") multiply = MultiplyV3, lanes = 8;
#endif
  volatile float kept = 0;
  const double micros = MicrosOf([&] { kept = multiply(0.5F); });
  return 2.0 * lanes * kChains * static_cast<double>(kTurns) / micros / 1e3;
}

}  // namespace lazynorm
