// Matrix product for model/kernels/level.cc. B is packed into panels of columns, each panel
// [k][width] with the width of two vectors; the last panel is as narrow as its columns allow and
// filled up with zeros. A micro kernel keeps up to 8 rows of a panel's result in registers.
#ifndef LAZYNORM_MODEL_KERNELS_GEMM_H_
#define LAZYNORM_MODEL_KERNELS_GEMM_H_

#include <cstdint>

#include "model/kernels.h"

namespace lazynorm {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kRows = 8;
#elif defined(__AVX__)
constexpr int kLanes = 8;
constexpr int kRows = 6;
#else
constexpr int kLanes = 4;
constexpr int kRows = 6;
#endif
constexpr int kPanel = 2 * kLanes;
// Depth of one pass: a block of a panel stays in the first-level cache.
constexpr int64_t kDepth = 256;

template <int N>
struct Vector {
  typedef float Type __attribute__((vector_size(N * sizeof(float))));
};
template <int N>
using Floats = typename Vector<N>::Type;

template <class V>
inline V LoadAs(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}

// Narrowest panel that holds `columns`.
inline int PanelWidth(int64_t columns) {
  int width = kPanel;
  while (width > 4 && columns <= width / 2) width /= 2;
  return width;
}

int64_t PackedSize(int64_t k, int64_t n) {
  const int64_t full = n / kPanel * kPanel;
  return k * (full + (full < n ? PanelWidth(n - full) : 0));
}

void Pack(Strided b, int64_t k, int64_t n, float* packed) {
  for (int64_t n0 = 0; n0 < n; n0 += kPanel) {
    const int64_t columns = n - n0 < kPanel ? n - n0 : kPanel;
    const int64_t width = PanelWidth(columns);
    float* panel = packed + n0 * k;
    const float* from = b.data + n0 * b.column;
    if (b.column == 1) {
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = 0; j < columns; ++j) panel[i * width + j] = from[i * b.row + j];
        for (int64_t j = columns; j < width; ++j) panel[i * width + j] = 0.0f;
      }
      continue;
    }
    for (int64_t j = 0; j < width; ++j) {
      for (int64_t i = 0; i < k; ++i) {
        panel[i * width + j] = j < columns ? from[i * b.row + j * b.column] : 0.0f;
      }
    }
  }
}

// What one micro kernel works on: `panels` panels side by side, `depth` of the k there are.
struct Tile {
  const float* a;
  int64_t a_row, a_column;
  const float* b;
  int64_t panel_stride;
  int64_t depth;
  const float*
      start;  // what each row begins with: a bias, or null for C (or zero at the first pass)
  bool first;
  float* c;
  int64_t c_row;
  int64_t columns;  // valid columns of the last panel
};

template <class V, int kVectors, int kPanels>
inline void LoadRow(const Tile& t, int row, V (&acc)[kPanels * kVectors]) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  const float* from = t.first ? t.start : t.c + row * t.c_row;
  float edge[kVectors * kWidth];
  for (int i = 0; i < kPanels * kVectors; ++i) {
    if (from == nullptr) {
      acc[i] = V{};
    } else if (i / kVectors == kPanels - 1 && t.columns < kVectors * kWidth) {
      const int64_t offset = (kPanels - 1) * kVectors * kWidth;
      for (int64_t j = 0; j < kVectors * kWidth; ++j)
        edge[j] = j < t.columns ? from[offset + j] : 0;
      acc[i] = LoadAs<V>(edge + i % kVectors * kWidth);
    } else {
      acc[i] = LoadAs<V>(from + i * kWidth);
    }
  }
}

template <class V, int kVectors, int kPanels>
inline void StoreRow(const Tile& t, int row, const V (&acc)[kPanels * kVectors]) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  float* to = t.c + row * t.c_row;
  for (int i = 0; i < kPanels * kVectors; ++i) {
    const int64_t left = t.columns - i % kVectors * kWidth;
    if (i / kVectors < kPanels - 1 || left >= kWidth) {
      __builtin_memcpy(to + i * kWidth, &acc[i], sizeof(V));
    } else if (left > 0) {
      __builtin_memcpy(to + i * kWidth, &acc[i], left * sizeof(float));
    }
  }
}

template <class V, int kVectors, int kPanels, int kM>
void Micro(const Tile& t) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  V acc[kM][kPanels * kVectors];
  for (int m = 0; m < kM; ++m) LoadRow<V, kVectors, kPanels>(t, m, acc[m]);
  const float* a = t.a;
  const float* b = t.b;
  for (int64_t k = 0; k < t.depth; ++k, a += t.a_column, b += kVectors * kWidth) {
    V row[kPanels * kVectors];
    for (int i = 0; i < kPanels * kVectors; ++i) {
      row[i] = LoadAs<V>(b + i / kVectors * t.panel_stride + i % kVectors * kWidth);
    }
    for (int m = 0; m < kM; ++m) {
      const V factor = V{} + a[m * t.a_row];
      for (int i = 0; i < kPanels * kVectors; ++i) acc[m][i] += factor * row[i];
    }
  }
  for (int m = 0; m < kM; ++m) StoreRow<V, kVectors, kPanels>(t, m, acc[m]);
}

// Runs the micro kernel for exactly `rows` rows, 1 to kM.
template <class V, int kVectors, int kPanels, int kM>
inline void MicroRows(const Tile& t, int64_t rows) {
  if (rows == kM) {
    Micro<V, kVectors, kPanels, kM>(t);
  } else if constexpr (kM > 1) {
    MicroRows<V, kVectors, kPanels, kM - 1>(t, rows);
  }
}

template <class V, int kVectors, int kPanels>
void AllRows(Tile t, int64_t m) {
  for (; m > 0; m -= kRows, t.a += kRows * t.a_row, t.c += kRows * t.c_row) {
    MicroRows<V, kVectors, kPanels, kRows>(t, m < kRows ? m : kRows);
  }
}

void NarrowPanel(const Tile& t, int width, int64_t m) {
  if (width == kPanel) return AllRows<Floats<kLanes>, 2, 1>(t, m);
  if (width == kLanes) return AllRows<Floats<kLanes>, 1, 1>(t, m);
  if constexpr (kLanes > 8) {
    if (width == 8) return AllRows<Floats<8>, 1, 1>(t, m);
  }
  AllRows<Floats<4>, 1, 1>(t, m);
}

void Gemm(GemmShape s, Strided a, const float* packed, const float* bias, float* c) {
  for (int64_t k0 = 0; k0 == 0 || k0 < s.k; k0 += kDepth) {
    const int64_t depth = s.k - k0 < kDepth ? s.k - k0 : kDepth;
    int64_t n0 = 0;
    while (n0 < s.n) {
      const int64_t columns = s.n - n0 < kPanel ? s.n - n0 : kPanel;
      const int width = PanelWidth(columns);
      Tile t{a.data + k0 * a.column,
             a.row,
             a.column,
             packed + n0 * s.k + k0 * width,
             s.k * kPanel,
             depth,
             bias ? bias + n0 : nullptr,
             k0 == 0,
             c + n0,
             s.n,
             columns};
      // A single row has too few sums under way to hide their latency: take two panels at once.
      if (s.m == 1 && s.n - n0 >= 2 * kPanel) {
        t.columns = kPanel;
        Micro<Floats<kLanes>, 2, 2, 1>(t);
        n0 += 2 * kPanel;
        continue;
      }
      NarrowPanel(t, width, s.m);
      n0 += columns;
    }
  }
}

}  // namespace
}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_KERNELS_GEMM_H_
