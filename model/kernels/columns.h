// Passes over the columns of a matrix, and reductions, for model/kernels/level.cc. Each pass is
// written once for columns in vectors and for single ones. Sums over rows are held in registers for
// a few vectors of columns while the pass walks down the rows; what has no sum walks along the
// rows, a few rows abreast, so that memory is read in order.
#ifndef LAZYNORM_MODEL_KERNELS_COLUMNS_H_
#define LAZYNORM_MODEL_KERNELS_COLUMNS_H_

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <cstdint>

#include "model/kernels/gemm.h"

namespace lazynorm {
namespace {

#if defined(__AVX512F__)
constexpr int kWide = 8;
constexpr int kAbreast = 8;  // vectors of columns whose sums fit into the registers
#elif defined(__AVX__)
constexpr int kWide = 4;
constexpr int kAbreast = 4;
#else
constexpr int kWide = 2;
constexpr int kAbreast = 4;
#endif

typedef float WideFloats __attribute__((vector_size(kWide * sizeof(float))));
typedef double WideDoubles __attribute__((vector_size(kWide * sizeof(double))));

// GCC 12 on its own converts half a vector at a time. (A mask of all, as the intrinsic without one
// is taken for a use of something undefined.)
inline WideDoubles WidenVector(WideFloats v) {
#if defined(__AVX512F__)
  return reinterpret_cast<WideDoubles>(_mm512_maskz_cvtps_pd(0xff, reinterpret_cast<__m256>(v)));
#elif defined(__AVX__)
  return reinterpret_cast<WideDoubles>(_mm256_cvtps_pd(reinterpret_cast<__m128>(v)));
#else
  return __builtin_convertvector(v, WideDoubles);
#endif
}

// Columns side by side: how to load them as double and store them as float.
struct Group {
  using Float = WideFloats;
  using Double = WideDoubles;
  static constexpr int kColumns = kWide;
  static Float LoadFloat(const float* p) {
    Float v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static Double Widen(Float v) { return WidenVector(v); }
  static Double Load(const float* p) { return Widen(LoadFloat(p)); }
  static Double Load(const double* p) {
    Double v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static Float Narrow(Double v) { return __builtin_convertvector(v, Float); }
  static void Store(Float v, float* p) { __builtin_memcpy(p, &v, sizeof(v)); }
  static void Store(Double v, double* p) { __builtin_memcpy(p, &v, sizeof(v)); }
  // v where gate is above 0, else 0.
  static Float Gate(Float v, Float gate) {
    typedef int32_t Bits __attribute__((vector_size(sizeof(Float))));
    return reinterpret_cast<Float>(reinterpret_cast<Bits>(v) & (gate > Float{}));
  }
  static Float Relu(Float v) { return NotBelowZero(v); }
};

struct Single {
  using Float = float;
  using Double = double;
  static constexpr int kColumns = 1;
  static float LoadFloat(const float* p) { return *p; }
  static double Widen(float v) { return v; }
  static double Load(const float* p) { return *p; }
  static double Load(const double* p) { return *p; }
  static float Narrow(double v) { return static_cast<float>(v); }
  static void Store(float v, float* p) { *p = v; }
  static void Store(double v, double* p) { *p = v; }
  static float Gate(float v, float gate) { return gate > 0 ? v : 0; }
  static float Relu(float v) { return v < 0 ? 0 : v; }
};

// How many of them a pass has in its hands.
template <class G, int kN>
struct Several : G {
  static constexpr int kCount = kN;
};

// Calls pass(several, first column) for all columns.
template <class Pass>
inline void ForColumns(int64_t columns, Pass pass) {
  int64_t c = 0;
  for (; c + kAbreast * kWide <= columns; c += kAbreast * kWide) {
    pass(Several<Group, kAbreast>(), c);
  }
  for (; c + kWide <= columns; c += kWide) pass(Several<Group, 1>(), c);
  for (; c < columns; ++c) pass(Several<Single, 1>(), c);
}

// Rows that a pass without sums takes at once: what it knows of a column is loaded once for them.
constexpr int kRowsAbreast = 4;

// Calls pass(several, first column, index of its element in the first row) for all elements;
// `several` counts rows here.
template <class Pass>
inline void ForElements(int64_t rows, int64_t columns, Pass pass) {
  int64_t r = 0;
  const auto along = [&](auto group, auto single) {
    int64_t c = 0;
    for (; c + kWide <= columns; c += kWide) pass(group, c, r * columns + c);
    for (; c < columns; ++c) pass(single, c, r * columns + c);
  };
  for (; r + kRowsAbreast <= rows; r += kRowsAbreast) {
    along(Several<Group, kRowsAbreast>(), Several<Single, kRowsAbreast>());
  }
  for (; r < rows; ++r) along(Several<Group, 1>(), Several<Single, 1>());
}

void ColumnSums(const float* x, int64_t rows, int64_t columns, double* sum) {
  ForColumns(columns, [=](auto g, int64_t c) {
    typename decltype(g)::Double total[g.kCount] = {};
    const float* row = x + c;
    for (int64_t r = 0; r < rows; ++r, row += columns) {
      for (int j = 0; j < g.kCount; ++j) total[j] += g.Load(row + j * g.kColumns);
    }
    for (int j = 0; j < g.kCount; ++j) g.Store(total[j], sum + c + j * g.kColumns);
  });
}

void InverseStd(const double* squares, double count, double eps, int64_t columns, double* y) {
  for (int64_t c = 0; c < columns; ++c) {
    const double var = squares[c] / count + eps;
    const double inverse = 1 / __builtin_sqrt(var);
    y[c] = var > 0 ? inverse : 0;
  }
}

void ColumnSquares(const float* x, const double* mean, int64_t rows, int64_t columns, double* sum) {
  ForColumns(columns, [=](auto g, int64_t c) {
    typename decltype(g)::Double total[g.kCount] = {}, center[g.kCount];
    for (int j = 0; j < g.kCount; ++j) center[j] = g.Load(mean + c + j * g.kColumns);
    const float* row = x + c;
    for (int64_t r = 0; r < rows; ++r, row += columns) {
      for (int j = 0; j < g.kCount; ++j) {
        const auto d = g.Load(row + j * g.kColumns) - center[j];
        total[j] += d * d;
      }
    }
    for (int j = 0; j < g.kCount; ++j) g.Store(total[j], sum + c + j * g.kColumns);
  });
}

void Standardize(const float* x, const double* mean, const double* scale, int64_t rows,
                 int64_t columns, float* y) {
  ForElements(rows, columns, [=](auto g, int64_t c, int64_t i) {
    const auto center = g.Load(mean + c);
    const auto factor = g.Load(scale + c);
    for (int j = 0; j < g.kCount; ++j, i += columns) {
      g.Store(g.Narrow((g.Load(x + i) - center) * factor), y + i);
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

template <bool kRelu>
void NormalizePass(const float* x, const double* mean, const double* scale, const float* weight,
                   const float* bias, int64_t rows, int64_t columns, float* xhat, float* y) {
  ForElements(rows, columns, [=](auto g, int64_t c, int64_t i) {
    const auto center = g.Load(mean + c);
    const auto factor = g.Load(scale + c);
    const auto w = g.LoadFloat(weight + c);
    const auto b = g.LoadFloat(bias + c);
    for (int j = 0; j < g.kCount; ++j, i += columns) {
      const auto normal = g.Narrow((g.Load(x + i) - center) * factor);
      g.Store(normal, xhat + i);
      const auto out = w * normal + b;
      g.Store(kRelu ? g.Relu(out) : out, y + i);
    }
  });
}

void Normalize(const float* x, const double* mean, const double* scale, const float* weight,
               const float* bias, bool relu, int64_t rows, int64_t columns, float* xhat, float* y) {
  const auto pass = relu ? NormalizePass<true> : NormalizePass<false>;
  pass(x, mean, scale, weight, bias, rows, columns, xhat, y);
}

template <bool kGated>
void ColumnDotsPass(const float* g, const float* gate, const float* x, int64_t rows,
                    int64_t columns, double* sum_g, double* sum_gx) {
  ForColumns(columns, [=](auto group, int64_t c) {
    typename decltype(group)::Double total[group.kCount] = {}, dot[group.kCount] = {};
    int64_t i = c;
    for (int64_t r = 0; r < rows; ++r, i += columns) {
      for (int j = 0; j < group.kCount; ++j) {
        const int64_t at = i + j * group.kColumns;
        auto slope = group.LoadFloat(g + at);
        if constexpr (kGated) slope = group.Gate(slope, group.LoadFloat(gate + at));
        const auto v = group.Widen(slope);
        total[j] += v;
        dot[j] += v * group.Load(x + at);
      }
    }
    for (int j = 0; j < group.kCount; ++j) {
      group.Store(total[j], sum_g + c + j * group.kColumns);
      group.Store(dot[j], sum_gx + c + j * group.kColumns);
    }
  });
}

void ColumnDots(const float* g, const float* gate, const float* x, int64_t rows, int64_t columns,
                double* sum_g, double* sum_gx) {
  const auto pass = gate == nullptr ? ColumnDotsPass<false> : ColumnDotsPass<true>;
  pass(g, gate, x, rows, columns, sum_g, sum_gx);
}

template <bool kGated>
void BatchNormGradientPass(const float* g, const float* gate, const float* x, const double* mean_g,
                           const double* mean_gx, const double* scale, int64_t rows,
                           int64_t columns, float* y) {
  ForElements(rows, columns, [=](auto group, int64_t c, int64_t i) {
    const auto level = group.Load(mean_g + c);
    const auto slope = group.Load(mean_gx + c);
    const auto factor = group.Load(scale + c);
    for (int j = 0; j < group.kCount; ++j, i += columns) {
      auto v = group.LoadFloat(g + i);
      if constexpr (kGated) v = group.Gate(v, group.LoadFloat(gate + i));
      group.Store(group.Narrow((group.Widen(v) - level - group.Load(x + i) * slope) * factor),
                  y + i);
    }
  });
}

void BatchNormGradient(const float* g, const float* gate, const float* x, const double* mean_g,
                       const double* mean_gx, const double* scale, int64_t rows, int64_t columns,
                       float* y) {
  const auto pass = gate == nullptr ? BatchNormGradientPass<false> : BatchNormGradientPass<true>;
  pass(g, gate, x, mean_g, mean_gx, scale, rows, columns, y);
}

void Relu(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] < 0 ? 0.0f : x[i];
}

void ReluGradient(const float* x, const float* g, int64_t n, float* grad_x) {
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i];  // read whatever x is: a loop without branches
    grad_x[i] = x[i] > 0 ? gradient : 0.0f;
  }
}

// 32 running sums whatever the level, so that all levels add in one order; as many as it takes to
// hide how long an addition is.
double SumOfSquares(const float* x, int64_t n) {
  constexpr int kSums = 32;
  constexpr int kVectors = kSums / kWide;
  WideDoubles total[kVectors] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int j = 0; j < kVectors; ++j) {
      const WideDoubles v = Group::Load(x + i + j * kWide);
      total[j] += v * v;
    }
  }
  double sums[kSums];
  __builtin_memcpy(sums, total, sizeof(sums));
  for (int j = 0; i < n; ++i, ++j) sums[j] += static_cast<double>(x[i]) * x[i];
  for (int half = kSums / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
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
