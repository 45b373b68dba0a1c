#include "model/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/random.h"

namespace lazynorm {
namespace {

// Numbers in a block of exactly their size, `offset` floats beyond an allocation: a kernel that
// reads or writes elsewhere is caught by the address sanitizer, one that needs alignment crashes.
class Floats {
 public:
  Floats(int64_t n, uint64_t seed, int64_t offset = 0)
      : block_(new float[n + offset]), data_(block_.get() + offset), n_(n) {
    const Random random(seed);
    for (int64_t i = 0; i < n; ++i) data_[i] = 2 * random.Uniform(i) - 1;
  }
  float* data() const { return data_; }
  int64_t size() const { return n_; }
  float operator[](int64_t i) const { return data_[i]; }
  std::vector<float> values() const { return {data_, data_ + n_}; }

 private:
  std::unique_ptr<float[]> block_;
  float* data_;
  int64_t n_;
};

class KernelsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels_ = *GetParam();
};

struct Product {
  GemmShape shape;
  bool transpose_a = false, transpose_b = false, bias = false;
};

Strided Layout(const Floats& m, int64_t rows, int64_t columns, bool transposed) {
  return transposed ? Strided{m.data(), 1, rows} : Strided{m.data(), columns, 1};
}

float At(Strided m, int64_t row, int64_t column) {
  return m.data[row * m.row + column * m.column];
}

std::vector<float> RunGemm(const Kernels& kernels, GemmShape s, Strided a, Strided b,
                           const float* bias, bool relu = false) {
  const Floats packed(kernels.packed_size(s.k, s.n), 0);
  const Floats c(s.m * s.n, 0);
  kernels.pack(b, s.k, s.n, packed.data());
  kernels.gemm(s, a, packed.data(), bias, relu, c.data());
  return c.values();
}

void ExpectProduct(const Kernels& kernels, const Product& p) {
  const GemmShape s = p.shape;
  const Floats a_values(s.m * s.k, 1, 1), b_values(s.k * s.n, 2, 3), bias(s.n, 3, 1);
  const Strided a = Layout(a_values, s.m, s.k, p.transpose_a);
  const Strided b = Layout(b_values, s.k, s.n, p.transpose_b);
  const auto c = RunGemm(kernels, s, a, b, p.bias ? bias.data() : nullptr);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      double want = p.bias ? bias[j] : 0;
      double size = std::fabs(want);
      for (int64_t k = 0; k < s.k; ++k) {
        const double term = static_cast<double>(At(a, i, k)) * At(b, k, j);
        want += term;
        size += std::fabs(term);
      }
      ASSERT_NEAR(c[i * s.n + j], want, (s.k + 2) * 6e-8 * size)
          << s.m << " x " << s.n << " x " << s.k << " at " << i << ", " << j;
    }
  }
}

TEST_P(KernelsTest, GemmIsTheMatrixProductForEveryShape) {
  for (int64_t i = 1; i <= 70; ++i) {
    for (int64_t j = 1; j <= 70; ++j) {
      const int64_t other = 1 + Mix(i * 71 + j) % 70;
      const int turn = (i + j) % 3;
      const GemmShape shape = turn == 0   ? GemmShape{i, j, other}
                              : turn == 1 ? GemmShape{i, other, j}
                                          : GemmShape{other, i, j};
      const uint64_t bits = Mix(i * 1000 + j);
      ExpectProduct(kernels_, {shape, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0});
    }
  }
}

TEST_P(KernelsTest, GemmIsTheMatrixProductForDeepAndWideShapes) {
  for (const GemmShape shape :
       {GemmShape{3, 5, 255}, GemmShape{3, 5, 256}, GemmShape{3, 5, 257}, GemmShape{1, 300, 700},
        GemmShape{129, 131, 513}, GemmShape{257, 3, 64}, GemmShape{1, 1, 1000}}) {
    for (int layout = 0; layout < 8; ++layout) {
      ExpectProduct(kernels_, {shape, (layout & 1) != 0, (layout & 2) != 0, (layout & 4) != 0});
    }
  }
}

// One element as a chain of multiply-adds in the order of k, each rounded once or twice.
float Chain(const float* a, const float* b, int64_t stride, int64_t k, float start, bool fused) {
  volatile float sum = start;
  for (int64_t i = 0; i < k; ++i) {
    const float x = a[i], y = b[i * stride];
    volatile float product = x * y;
    sum = fused ? std::fma(x, y, static_cast<float>(sum)) : sum + product;
  }
  return sum;
}

TEST_P(KernelsTest, GemmAddsInTheOrderOfKBeginningWithTheBias) {
  const GemmShape s{7, 19, 300};
  const Floats a(s.m * s.k, 1), b(s.k * s.n, 2), bias(s.n, 3);
  const auto c = RunGemm(kernels_, s, {a.data(), s.k, 1}, {b.data(), s.n, 1}, bias.data());
  for (int64_t i = 0; i < s.m * s.n; ++i) {
    const float* row = a.data() + i / s.n * s.k;
    const float* column = b.data() + i % s.n;
    const float once = Chain(row, column, s.n, s.k, bias[i % s.n], true);
    const float twice = Chain(row, column, s.n, s.k, bias[i % s.n], false);
    ASSERT_TRUE(c[i] == once || c[i] == twice) << i << ": " << c[i];
  }
}

TEST_P(KernelsTest, GemmGivesARowTheSameBitsWhateverRowsAreBesideIt) {
  for (const int64_t n : {1, 3, 17, 64, 100, 130}) {
    const int64_t k = 300, most = 23;
    const Floats a(most * k, 1), b(k * n, 2), bias(n, 3);
    const auto all =
        RunGemm(kernels_, {most, n, k}, {a.data(), k, 1}, {b.data(), n, 1}, bias.data());
    for (int64_t m = 1; m < most; ++m) {
      const int64_t first = most - m;
      const auto some =
          RunGemm(kernels_, {m, n, k}, {a.data() + first * k, k, 1}, {b.data(), n, 1}, bias.data());
      ASSERT_EQ(std::memcmp(some.data(), all.data() + first * n, some.size() * sizeof(float)), 0)
          << m << " rows, " << n << " columns";
    }
  }
}

TEST_P(KernelsTest, GemmEndsWithTheReluThatIsAskedFor) {
  for (const GemmShape s : {GemmShape{1, 70, 300}, GemmShape{9, 5, 3}, GemmShape{13, 40, 513}}) {
    const Floats a(s.m * s.k, 1), b(s.k * s.n, 2), bias(s.n, 3);
    a.data()[0] = std::numeric_limits<float>::quiet_NaN();
    const Strided left{a.data(), s.k, 1}, right{b.data(), s.n, 1};
    const auto plain = RunGemm(kernels_, s, left, right, bias.data());
    const auto cut = RunGemm(kernels_, s, left, right, bias.data(), true);
    EXPECT_TRUE(std::isnan(cut[0]));
    for (int64_t i = s.n; i < s.m * s.n; ++i) ASSERT_EQ(cut[i], std::max(plain[i], 0.0f));
  }
}

TEST_P(KernelsTest, PackScaledMultipliesRowsAndColumnsInDouble) {
  for (const auto& [k, n] : {std::pair(1, 1), std::pair(7, 19), std::pair(70, 33)}) {
    for (const bool transposed : {false, true}) {
      const Floats b(k * n, 1);
      std::vector<double> row_scale(k), column_scale(n);
      for (int i = 0; i < k; ++i) row_scale[i] = 1.1 + i;
      for (int j = 0; j < n; ++j) column_scale[j] = 1.0 / (j + 3);
      const Strided layout = Layout(b, k, n, transposed);
      const Floats scaled(k * n, 0);
      for (int i = 0; i < k * n; ++i) {
        const double value = At(layout, i / n, i % n);
        scaled.data()[i] = static_cast<float>(value * column_scale[i % n] * row_scale[i / n]);
      }
      const Floats want(kernels_.packed_size(k, n), 0), got(kernels_.packed_size(k, n), 0);
      kernels_.pack({scaled.data(), n, 1}, k, n, want.data());
      kernels_.pack_scaled(layout, row_scale.data(), column_scale.data(), k, n, got.data());
      EXPECT_EQ(want.values(), got.values()) << k << " x " << n;
    }
  }
}

// Sizes around every vector width.
constexpr int64_t kColumns[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65, 79};
constexpr int64_t kRowCounts[] = {1, 2, 3, 8, 21};

void ForSizes(const std::function<void(int64_t rows, int64_t columns)>& check) {
  for (const int64_t rows : kRowCounts) {
    for (const int64_t columns : kColumns) check(rows, columns);
  }
}

TEST_P(KernelsTest, ColumnSumsAndSquaresAreTakenInDouble) {
  ForSizes([&](int64_t rows, int64_t columns) {
    const Floats x(rows * columns, 1, 1);
    std::vector<double> sums(columns), squares(columns);
    kernels_.column_sums(x.data(), rows, columns, sums.data());
    kernels_.column_squares(x.data(), sums.data(), rows, columns, squares.data());
    for (int64_t c = 0; c < columns; ++c) {
      double sum = 0, square = 0;
      for (int64_t r = 0; r < rows; ++r) sum += x[r * columns + c];
      for (int64_t r = 0; r < rows; ++r) square += std::pow(x[r * columns + c] - sum, 2);
      ASSERT_NEAR(sums[c], sum, 1e-14 * rows);
      ASSERT_NEAR(squares[c], square, 1e-13 * (1 + square));
    }
  });
}

TEST_P(KernelsTest, StandardizeSubtractsInDoubleAndRoundsOnce) {
  ForSizes([&](int64_t rows, int64_t columns) {
    const Floats x(rows * columns, 1, 3), y(rows * columns, 2, 1);
    std::vector<double> mean(columns), scale(columns);
    for (int64_t c = 0; c < columns; ++c) {
      mean[c] = 0.1 + 1e-9 * c;
      scale[c] = 3.0 + c;
    }
    kernels_.standardize(x.data(), mean.data(), scale.data(), rows, columns, y.data());
    for (int64_t i = 0; i < x.size(); ++i) {
      const int64_t c = i % columns;
      ASSERT_EQ(y[i], static_cast<float>((static_cast<double>(x[i]) - mean[c]) * scale[c]));
    }
  });
}

TEST_P(KernelsTest, ScaleShiftIsOneMultiplyAdd) {
  ForSizes([&](int64_t rows, int64_t columns) {
    const Floats x(rows * columns, 1, 1), weight(columns, 2, 1), bias(columns, 3, 3);
    const Floats y(rows * columns, 4, 1);
    kernels_.scale_shift(x.data(), weight.data(), bias.data(), rows, columns, y.data());
    for (int64_t i = 0; i < x.size(); ++i) {
      const double want = static_cast<double>(weight[i % columns]) * x[i] + bias[i % columns];
      ASSERT_NEAR(y[i], want, 1.5e-7);
    }
  });
}

TEST_P(KernelsTest, ColumnDotsAreTakenInDouble) {
  ForSizes([&](int64_t rows, int64_t columns) {
    const Floats g(rows * columns, 1, 1), x(rows * columns, 2, 3);
    std::vector<double> sums(columns), dots(columns);
    kernels_.column_dots(g.data(), nullptr, x.data(), rows, columns, sums.data(), dots.data());
    for (int64_t c = 0; c < columns; ++c) {
      double sum = 0, dot = 0;
      for (int64_t i = c; i < g.size(); i += columns) {
        sum += g[i];
        dot += static_cast<double>(g[i]) * x[i];
      }
      ASSERT_NEAR(sums[c], sum, 1e-14 * rows);
      ASSERT_NEAR(dots[c], dot, 1e-14 * rows);
    }
  });
}

TEST_P(KernelsTest, BatchNormGradientIsTakenInDouble) {
  ForSizes([&](int64_t rows, int64_t columns) {
    const Floats g(rows * columns, 1, 1), x(rows * columns, 2, 3), y(rows * columns, 3, 1);
    std::vector<double> level(columns), slope(columns), scale(columns);
    for (int64_t c = 0; c < columns; ++c) {
      level[c] = 0.25 + c;
      slope[c] = 0.5 - c;
      scale[c] = 1.0 / (c + 3);
    }
    kernels_.batch_norm_gradient(g.data(), nullptr, x.data(), level.data(), slope.data(),
                                 scale.data(), rows, columns, y.data());
    for (int64_t i = 0; i < g.size(); ++i) {
      const int64_t c = i % columns;
      const double want = (g[i] - level[c] - static_cast<double>(x[i]) * slope[c]) * scale[c];
      ASSERT_NEAR(y[i], want, 1e-7 * (1 + std::fabs(want)));
    }
  });
}

TEST_P(KernelsTest, InverseStdIsZeroWhereThereIsNoSpread) {
  for (const int64_t columns : kColumns) {
    std::vector<double> squares(columns), y(columns);
    for (int64_t c = 0; c < columns; ++c) squares[c] = c % 3 == 0 ? 0 : 8.0 * c;
    kernels_.inverse_std(squares.data(), 2, 0, columns, y.data());
    for (int64_t c = 0; c < columns; ++c) {
      ASSERT_EQ(y[c], c % 3 == 0 ? 0 : 1 / std::sqrt(4.0 * c)) << c;
    }
    kernels_.inverse_std(squares.data(), 2, 1e-5, columns, y.data());
    ASSERT_EQ(y[0], 1 / std::sqrt(1e-5));
  }
}

TEST_P(KernelsTest, NormalizeIsStandardizeThenScaleShiftThenRelu) {
  ForSizes([&](int64_t rows, int64_t columns) {
    const int64_t n = rows * columns;
    const Floats x(n, 1, 1), weight(columns, 2, 3), bias(columns, 3, 1);
    const Floats xhat(n, 4, 3), y(n, 5, 1), cut(n, 6, 1);
    std::vector<double> mean(columns), scale(columns);
    for (int64_t c = 0; c < columns; ++c) {
      mean[c] = 0.1 + 1e-9 * c;
      scale[c] = 3.0 + c;
    }
    kernels_.normalize(x.data(), mean.data(), scale.data(), weight.data(), bias.data(), false, rows,
                       columns, xhat.data(), y.data());
    kernels_.normalize(x.data(), mean.data(), scale.data(), weight.data(), bias.data(), true, rows,
                       columns, xhat.data(), cut.data());
    for (int64_t i = 0; i < n; ++i) {
      const int64_t c = i % columns;
      ASSERT_EQ(xhat[i], static_cast<float>((static_cast<double>(x[i]) - mean[c]) * scale[c]));
      const double want = static_cast<double>(weight[c]) * xhat[i] + bias[c];
      ASSERT_NEAR(y[i], want, 1.5e-7 * (1 + std::fabs(want)));
      ASSERT_EQ(cut[i], std::max(y[i], 0.0f));
    }
  });
}

TEST_P(KernelsTest, AGateLetsThroughWhatIsAboveZero) {
  ForSizes([&](int64_t rows, int64_t columns) {
    const int64_t n = rows * columns;
    const Floats g(n, 1, 1), gate(n, 2, 3), x(n, 3, 1), open(n, 4, 1), y(n, 5, 1), want(n, 6, 1);
    gate.data()[0] = 0;
    for (int64_t i = 0; i < n; ++i) open.data()[i] = gate[i] > 0 ? g[i] : 0;
    std::vector<double> sums(columns), dots(columns), want_sums(columns), want_dots(columns);
    const std::vector<double> scale(columns, 0.5);
    kernels_.column_dots(g.data(), gate.data(), x.data(), rows, columns, sums.data(), dots.data());
    kernels_.column_dots(open.data(), nullptr, x.data(), rows, columns, want_sums.data(),
                         want_dots.data());
    EXPECT_EQ(sums, want_sums);
    EXPECT_EQ(dots, want_dots);
    kernels_.batch_norm_gradient(g.data(), gate.data(), x.data(), sums.data(), dots.data(),
                                 scale.data(), rows, columns, y.data());
    kernels_.batch_norm_gradient(open.data(), nullptr, x.data(), sums.data(), dots.data(),
                                 scale.data(), rows, columns, want.data());
    EXPECT_EQ(y.values(), want.values());
    kernels_.relu_gradient(gate.data(), g.data(), n, y.data());
    EXPECT_EQ(y.values(), open.values());
  });
}

TEST_P(KernelsTest, ReluLeavesNanAlone) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int64_t n = 1; n < 40; ++n) {
    const Floats x(n, 1, 1), y(n, 2, 1);
    x.data()[n - 1] = nan;
    kernels_.relu(x.data(), n, y.data());
    for (int64_t i = 0; i + 1 < n; ++i) ASSERT_EQ(y[i], std::max(x[i], 0.0f));
    EXPECT_TRUE(std::isnan(y[n - 1]));
  }
}

TEST_P(KernelsTest, SumOfSquaresIsTakenInDoubleAndTheSameOnAllLevels) {
  for (int64_t n = 0; n < 70; ++n) {
    const Floats x(n, 1, 1);
    double want = 0;
    for (int64_t i = 0; i < n; ++i) want += static_cast<double>(x[i]) * x[i];
    EXPECT_NEAR(kernels_.sum_of_squares(x.data(), n), want, 1e-13);
    EXPECT_NEAR(kernels_.sum_of_squares(x.data(), n),
                AvailableKernels().back()->sum_of_squares(x.data(), n), 1e-14);
  }
  const std::vector<float> large(9, 3e38f);
  EXPECT_NEAR(kernels_.sum_of_squares(large.data(), 9) / (9 * std::pow(3e38f, 2.0)), 1, 1e-12);
}

TEST_P(KernelsTest, AllFiniteFindsInfinityAndNanAnywhere) {
  using Limit = std::numeric_limits<float>;
  for (int64_t n = 1; n < 40; ++n) {
    const Floats x(n, 1, 1);
    x.data()[n - 1] = Limit::max();
    EXPECT_TRUE(kernels_.all_finite(x.data(), n));
    for (const float bad : {Limit::infinity(), -Limit::infinity(), Limit::quiet_NaN()}) {
      for (int64_t i = 0; i < n; ++i) {
        const float kept = x[i];
        x.data()[i] = bad;
        EXPECT_FALSE(kernels_.all_finite(x.data(), n)) << i << " of " << n;
        x.data()[i] = kept;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, KernelsTest,
                         testing::ValuesIn(AvailableKernels().begin(), AvailableKernels().end()),
                         [](const auto& info) { return std::string(info.param->level); });

TEST(KernelsChoiceTest, ALevelIsChosenByName) {
  const std::string before(ActiveKernels().level);
  for (const Kernels* kernels : AvailableKernels()) {
    EXPECT_TRUE(UseKernels(kernels->level));
    EXPECT_EQ(&ActiveKernels(), kernels);
  }
  EXPECT_FALSE(UseKernels("v1"));
  EXPECT_EQ(&ActiveKernels(), AvailableKernels().back());
  EXPECT_TRUE(UseKernels(before));
}

}  // namespace
}  // namespace lazynorm
