#ifndef LAZYNORM_MODEL_KERNELS_H_
#define LAZYNORM_MODEL_KERNELS_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lazynorm {

// The loops that carry the arithmetic, over raw float32 memory. They are compiled once for each
// level of the x86-64 psABI (v2: SSE4.2, v3: AVX2 and FMA, v4: AVX-512) and chosen when the process
// starts, so that one binary uses what the machine has. Results are the same bit for bit within a
// level, whatever the number of rows beside a row and wherever memory lies: every sum has one
// order, given by its indices alone.
//
// All matrices are row-major and contiguous unless a stride is given. Nothing allocates.

struct GemmShape {
  int64_t m, n, k;
};

// Element (m, k) of A is a[m * row + k * column].
struct Strided {
  const float* data;
  int64_t row, column;
};

// The coefficients of one Adam step, from its settings and the number of the step.
struct AdamStep {
  float decay;  // p *= decay before the step (AdamW), 1 otherwise
  float l2;     // g += l2 * p
  float beta1, beta2, one_minus_beta1, one_minus_beta2;
  float step_size;     // lr / (1 - beta1^t)
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
  float eps;
};
struct SgdStep {
  float lr, l2, momentum, keep;  // keep: 1 - dampening, or 1 at the first step
  bool use_buffer, first, nesterov;
};
struct RmsPropStep {
  float lr, l2, alpha, one_minus_alpha, eps, momentum;
  bool centered, use_buffer;
};
struct AdagradStep {
  float rate, l2, eps;
};

// One optimizer pass over n parameters: reads p, g and the moments, writes new values of all but g.
// Every gradient is multiplied by `clip` first. Moments lie one behind the other, n floats each.
struct OptimizerArrays {
  int64_t n;
  float clip;
  const float* p;
  const float* g;
  const float* moments;
  float* new_p;
  float* new_moments;
};

struct Kernels {
  absl::string_view level;

  // Floats that Pack needs for a [k, n] matrix.
  int64_t (*packed_size)(int64_t k, int64_t n);
  // Lays B, [k, n] with any strides, out for Gemm.
  void (*pack)(Strided b, int64_t k, int64_t n, float* packed);
  // The same of float(B[k, n] * column_scale[n] * row_scale[k]), multiplied in double.
  void (*pack_scaled)(Strided b, const double* row_scale, const double* column_scale, int64_t k,
                      int64_t n, float* packed);
  // C[m, n] = A[m, k] B[k, n] + bias[n]; bias may be null. Each element is one chain of
  // multiply-adds in the order of k, begun with the bias; then relu, if asked for.
  void (*gemm)(GemmShape shape, Strided a, const float* packed_b, const float* bias, bool relu,
               float* c);

  // sum[c] = sum over rows of x[r, c], in double.
  void (*column_sums)(const float* x, int64_t rows, int64_t columns, double* sum);
  // y[c] = 1 / sqrt(squares[c] / count + eps), or 0 where the root is not above 0.
  void (*inverse_std)(const double* squares, double count, double eps, int64_t columns, double* y);
  // sum[c] = sum over rows of (x[r, c] - mean[c])^2, in double.
  void (*column_squares)(const float* x, const double* mean, int64_t rows, int64_t columns,
                         double* sum);
  // y = float((double(x) - mean) * scale)
  void (*standardize)(const float* x, const double* mean, const double* scale, int64_t rows,
                      int64_t columns, float* y);
  // y = weight * x + bias
  void (*scale_shift)(const float* x, const float* weight, const float* bias, int64_t rows,
                      int64_t columns, float* y);
  // Both in one pass: xhat = standardize(x), y = scale_shift(xhat), then relu if asked for.
  void (*normalize)(const float* x, const double* mean, const double* scale, const float* weight,
                    const float* bias, bool relu, int64_t rows, int64_t columns, float* xhat,
                    float* y);
  // sum_g[c] = sum g[r, c], sum_gx[c] = sum g[r, c] x[r, c], in double. Unless gate is null, g
  // counts as 0 where gate, a matrix like it, is not above 0: the gradient of a relu behind.
  void (*column_dots)(const float* g, const float* gate, const float* x, int64_t rows,
                      int64_t columns, double* sum_g, double* sum_gx);
  // y = float((g - mean_g - x mean_gx) * scale), in double inside; gate as in column_dots.
  void (*batch_norm_gradient)(const float* g, const float* gate, const float* x,
                              const double* mean_g, const double* mean_gx, const double* scale,
                              int64_t rows, int64_t columns, float* y);
  // y = x where x is not below 0, else 0; NaN stays.
  void (*relu)(const float* x, int64_t n, float* y);
  // grad_x = g where x is above 0, else 0.
  void (*relu_gradient)(const float* x, const float* g, int64_t n, float* grad_x);

  // Sum of squares in double.
  double (*sum_of_squares)(const float* x, int64_t n);
  // Whether no element is infinite or NaN.
  bool (*all_finite)(const float* x, int64_t n);

  // Each returns whether all that it wrote is finite. Moments of Sgd: [buffer if used]; Adam:
  // m, v[, vmax]; RMSprop: v[, average][, buffer]; Adagrad: sum.
  bool (*sgd)(const SgdStep& step, const OptimizerArrays& arrays);
  bool (*adam)(const AdamStep& step, bool amsgrad, const OptimizerArrays& arrays);
  bool (*rmsprop)(const RmsPropStep& step, const OptimizerArrays& arrays);
  bool (*adagrad)(const AdagradStep& step, const OptimizerArrays& arrays);
};

// The level in use: the best of the machine unless UseKernels chose another. Thread-safe.
const Kernels& ActiveKernels();

// The levels this machine can run, best first.
absl::Span<const Kernels* const> AvailableKernels();

// Chooses a level by name ("v2", "v3", "v4", "generic" where there is but one). False if the
// machine cannot run it. To be called before any model exists.
bool UseKernels(absl::string_view level);

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_KERNELS_H_
