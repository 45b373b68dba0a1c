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

// v where it is not below 0, else 0: NaN stays.
template <class V>
inline V NotBelowZero(V v) {
  typedef int32_t Bits __attribute__((vector_size(sizeof(V))));
  return reinterpret_cast<V>(reinterpret_cast<Bits>(v) & ~(v < V{}));
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

// to[i * width + j] = from[j * stride + i] for i, j in 0..3.
inline void TransposeSquare(const float* from, int64_t stride, float* to, int64_t width) {
  typedef Floats<4> Quad;
  const Quad a = LoadAs<Quad>(from), b = LoadAs<Quad>(from + stride);
  const Quad c = LoadAs<Quad>(from + 2 * stride), d = LoadAs<Quad>(from + 3 * stride);
  const Quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Quad cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Quad ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Quad rows[4] = {
      __builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
      __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5), __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) __builtin_memcpy(to + i * width, &rows[i], sizeof(Quad));
}

// One panel from a B whose columns are contiguous. A cache line of each column is used up before
// the next one is touched: many columns may share one place in the cache.
inline void PackTransposed(const float* from, int64_t stride, int64_t k, int64_t columns, int width,
                           float* panel) {
  constexpr int64_t kLine = 16;
  const int64_t squares = columns / 4 * 4;
  for (int64_t i0 = 0; i0 < k; i0 += kLine) {
    const int64_t end = k - i0 < kLine ? k : i0 + kLine;
    for (int64_t j = 0; j < squares; j += 4) {
      int64_t i = i0;
      for (; i + 4 <= end; i += 4) {
        TransposeSquare(from + j * stride + i, stride, panel + i * width + j, width);
      }
      for (; i < end; ++i) {
        for (int64_t l = j; l < j + 4; ++l) panel[i * width + l] = from[l * stride + i];
      }
    }
    for (int64_t i = i0; i < end; ++i) {
      for (int64_t j = squares; j < columns; ++j) panel[i * width + j] = from[j * stride + i];
      for (int64_t j = columns; j < width; ++j) panel[i * width + j] = 0.0f;
    }
  }
}

// One panel from a B of any strides.
inline void PackStrided(Strided b, int64_t k, int64_t columns, int width, float* panel) {
  for (int64_t i = 0; i < k; ++i, panel += width) {
    const float* from = b.data + i * b.row;
    for (int64_t j = 0; j < columns; ++j) panel[j] = from[j * b.column];
    for (int64_t j = columns; j < width; ++j) panel[j] = 0.0f;
  }
}

// All full panels from a B whose rows are contiguous; some rows of all panels at a time, so that
// few pages are in use at once.
inline void PackRows(const float* from, int64_t stride, int64_t k, int64_t panels, float* packed) {
  constexpr int64_t kAtOnce = 8;
  for (int64_t i0 = 0; i0 < k; i0 += kAtOnce) {
    const int64_t end = k - i0 < kAtOnce ? k : i0 + kAtOnce;
    for (int64_t p = 0; p < panels; ++p) {
      for (int64_t i = i0; i < end; ++i) {
        __builtin_memcpy(packed + (p * k + i) * kPanel, from + i * stride + p * kPanel,
                         kPanel * sizeof(float));
      }
    }
  }
}

void Pack(Strided b, int64_t k, int64_t n, float* packed) {
  int64_t n0 = 0;
  if (b.column == 1) {
    PackRows(b.data, b.row, k, n / kPanel, packed);
    n0 = n / kPanel * kPanel;
  }
  for (; n0 < n; n0 += kPanel) {
    const int64_t columns = n - n0 < kPanel ? n - n0 : kPanel;
    const int width = PanelWidth(columns);
    const Strided from{b.data + n0 * b.column, b.row, b.column};
    if (b.row == 1 && b.column != 1) {
      PackTransposed(from.data, b.column, k, columns, width, packed + n0 * k);
    } else {
      PackStrided(from, k, columns, width, packed + n0 * k);
    }
  }
}

void PackScaled(Strided b, const double* row_scale, const double* column_scale, int64_t k,
                int64_t n, float* packed) {
  Pack(b, k, n, packed);
  for (int64_t n0 = 0; n0 < n; n0 += kPanel) {
    const int64_t columns = n - n0 < kPanel ? n - n0 : kPanel;
    const int width = PanelWidth(columns);
    float* panel = packed + n0 * k;
    for (int64_t i = 0; i < k; ++i, panel += width) {
      for (int64_t j = 0; j < columns; ++j) {
        panel[j] = static_cast<float>(panel[j] * column_scale[n0 + j] * row_scale[i]);
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
  const float* start;  // what each row begins with at the first pass: a bias, or null for zero
  bool first;
  bool relu;
  float* c;
  int64_t c_row;
  int64_t columns;  // valid columns of the last panel
};

// Copies n < 2 kPiece floats in pieces of fixed sizes: a call of memcpy takes as long as a tile.
template <int kPiece>
inline void CopyPart(const float* from, int64_t n, float* to) {
  const int64_t taken = n & kPiece;
  if (taken != 0) __builtin_memcpy(to, from, kPiece * sizeof(float));
  if constexpr (kPiece > 1) CopyPart<kPiece / 2>(from + taken, n, to + taken);
}

template <class V, int kVectors, int kPanels>
inline void LoadRow(const Tile& t, int row, V (&acc)[kPanels * kVectors]) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  const float* from = t.first ? t.start : t.c + row * t.c_row;
  for (int i = 0; i < kPanels * kVectors; ++i) {
    const int64_t left = t.columns - i % kVectors * kWidth;
    if (from == nullptr) {
      acc[i] = V{};
    } else if (i / kVectors < kPanels - 1 || left >= kWidth) {
      acc[i] = LoadAs<V>(from + i * kWidth);
    } else {
      float edge[kWidth] = {};
      if (left > 0) CopyPart<kWidth / 2>(from + i * kWidth, left, edge);
      acc[i] = LoadAs<V>(edge);
    }
  }
}

template <class V, int kVectors, int kPanels>
inline void StoreRow(const Tile& t, int row, const V (&acc)[kPanels * kVectors]) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  float* to = t.c + row * t.c_row;
  for (int i = 0; i < kPanels * kVectors; ++i) {
    const V out = t.relu ? NotBelowZero(acc[i]) : acc[i];
    const int64_t left = t.columns - i % kVectors * kWidth;
    if (i / kVectors < kPanels - 1 || left >= kWidth) {
      __builtin_memcpy(to + i * kWidth, &out, sizeof(V));
    } else if (left > 0) {
      float edge[kWidth];
      __builtin_memcpy(edge, &out, sizeof(V));
      CopyPart<kWidth / 2>(edge, left, to + i * kWidth);
    }
  }
}

template <class V, int kVectors, int kPanels, int kM>
void Micro(const Tile& t) {
  constexpr int kWidth = sizeof(V) / sizeof(float);
  V acc[kM][kPanels * kVectors];
  LoadRow<V, kVectors, kPanels>(t, 0, acc[0]);
  for (int m = 1; m < kM; ++m) {
    if (t.first) {  // all begin alike
      for (int i = 0; i < kPanels * kVectors; ++i) acc[m][i] = acc[0][i];
    } else {
      LoadRow<V, kVectors, kPanels>(t, m, acc[m]);
    }
  }
  const float* a = t.a;
  const float* b = t.b;
  for (int64_t k = 0; k < t.depth; ++k, a += t.a_column, b += kVectors * kWidth) {
    V row[kPanels * kVectors];
    for (int i = 0; i < kPanels * kVectors; ++i) {
      row[i] = LoadAs<V>(b + i / kVectors * t.panel_stride + i % kVectors * kWidth);
    }
    for (int m = 0; m < kM; ++m) {
      const V factor = a[m * t.a_row] - V{};  // adding 0 would be an instruction: -0 becomes 0
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

void Gemm(GemmShape s, Strided a, const float* packed, const float* bias, bool relu, float* c) {
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
             relu && k0 + kDepth >= s.k,
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
