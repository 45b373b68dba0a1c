// Passes over the columns of a matrix, and reductions, for model/kernels/level.cc. Each pass is
// written once for a group of columns, a vector or a single one, and holds its sums in registers
// while it walks down the rows.
#ifndef LAZYNORM_MODEL_KERNELS_COLUMNS_H_
#define LAZYNORM_MODEL_KERNELS_COLUMNS_H_

#include <cstdint>

namespace lazynorm {
namespace {

#if defined(__AVX512F__)
constexpr int kWide = 8;
#elif defined(__AVX__)
constexpr int kWide = 4;
#else
constexpr int kWide = 2;
#endif

typedef float WideFloats __attribute__((vector_size(kWide * sizeof(float))));
typedef double WideDoubles __attribute__((vector_size(kWide * sizeof(double))));

// A group of columns: how to load it as double and store it as float.
struct Group {
  using Double = WideDoubles;
  static constexpr int kColumns = kWide;
  static Double Load(const float* p) {
    WideFloats v;
    __builtin_memcpy(&v, p, sizeof(v));
    return __builtin_convertvector(v, WideDoubles);
  }
  static Double Load(const double* p) {
    WideDoubles v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static void Store(Double v, float* p) {
    const WideFloats narrow = __builtin_convertvector(v, WideFloats);
    __builtin_memcpy(p, &narrow, sizeof(narrow));
  }
  static void Store(Double v, double* p) { __builtin_memcpy(p, &v, sizeof(v)); }
};

struct Single {
  using Double = double;
  static constexpr int kColumns = 1;
  static double Load(const float* p) { return *p; }
  static double Load(const double* p) { return *p; }
  static void Store(double v, float* p) { *p = static_cast<float>(v); }
  static void Store(double v, double* p) { *p = v; }
};

// Calls pass(group, first column) for all columns.
template <class Pass>
inline void ForColumns(int64_t columns, Pass pass) {
  int64_t c = 0;
  for (; c + kWide <= columns; c += kWide) pass(Group(), c);
  for (; c < columns; ++c) pass(Single(), c);
}

void ColumnSums(const float* x, int64_t rows, int64_t columns, double* sum) {
  ForColumns(columns, [=](auto g, int64_t c) {
    typename decltype(g)::Double total{};
    for (int64_t r = 0; r < rows; ++r) total += g.Load(x + r * columns + c);
    g.Store(total, sum + c);
  });
}

void ColumnSquares(const float* x, const double* mean, int64_t rows, int64_t columns, double* sum) {
  ForColumns(columns, [=](auto g, int64_t c) {
    typename decltype(g)::Double total{};
    const auto center = g.Load(mean + c);
    for (int64_t r = 0; r < rows; ++r) {
      const auto d = g.Load(x + r * columns + c) - center;
      total += d * d;
    }
    g.Store(total, sum + c);
  });
}

void Standardize(const float* x, const double* mean, const double* scale, int64_t rows,
                 int64_t columns, float* y) {
  ForColumns(columns, [=](auto g, int64_t c) {
    const auto center = g.Load(mean + c);
    const auto factor = g.Load(scale + c);
    for (int64_t i = c; i < rows * columns; i += columns) {
      g.Store((g.Load(x + i) - center) * factor, y + i);
    }
  });
}

void ScaleShift(const float* x, const float* weight, const float* bias, int64_t rows,
                int64_t columns, float* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      y[r * columns + c] = weight[c] * x[r * columns + c] + bias[c];
    }
  }
}

void ColumnDots(const float* g, const float* x, int64_t rows, int64_t columns, double* sum_g,
                double* sum_gx) {
  ForColumns(columns, [=](auto group, int64_t c) {
    typename decltype(group)::Double total{}, dot{};
    for (int64_t i = c; i < rows * columns; i += columns) {
      const auto v = group.Load(g + i);
      total += v;
      dot += v * group.Load(x + i);
    }
    group.Store(total, sum_g + c);
    group.Store(dot, sum_gx + c);
  });
}

void BatchNormGradient(const float* g, const float* x, const double* mean_g, const double* mean_gx,
                       const double* scale, int64_t rows, int64_t columns, float* y) {
  ForColumns(columns, [=](auto group, int64_t c) {
    const auto level = group.Load(mean_g + c);
    const auto slope = group.Load(mean_gx + c);
    const auto factor = group.Load(scale + c);
    for (int64_t i = c; i < rows * columns; i += columns) {
      group.Store((group.Load(g + i) - level - group.Load(x + i) * slope) * factor, y + i);
    }
  });
}

// Eight running sums whatever the level, so that all levels add in one order.
double SumOfSquares(const float* x, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) sums[j] += static_cast<double>(x[i + j]) * x[i + j];
  }
  for (int j = 0; i < n; ++i, ++j) sums[j] += static_cast<double>(x[i]) * x[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

constexpr uint32_t kMagnitude = 0x7fffffffu;
constexpr uint32_t kInfinity = 0x7f800000u;

// The magnitude of v as an integer: in the order of floats, NaN and infinity at the top.
inline uint32_t Magnitude(float v) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, sizeof(bits));
  return bits & kMagnitude;
}

inline uint32_t Larger(uint32_t a, uint32_t b) {
  return a > b ? a : b;
}

bool AllFinite(const float* x, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = Larger(largest, Magnitude(x[i]));
  return largest < kInfinity;
}

}  // namespace
}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_KERNELS_COLUMNS_H_
