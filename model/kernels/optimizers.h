// One pass of an optimizer for model/kernels/level.cc; formulae in model/optimizer.h. The largest
// magnitude written is kept as an integer, which tells at the end whether all was finite.
#ifndef LAZYNORM_MODEL_KERNELS_OPTIMIZERS_H_
#define LAZYNORM_MODEL_KERNELS_OPTIMIZERS_H_

#include <cstdint>

#include "model/kernels.h"
#include "model/kernels/columns.h"

// Says of the loop behind it that what it writes is not what it reads. GCC would give up on
// checking so many arrays and leave the loop scalar; Clang checks them.
#if defined(__GNUC__) && !defined(__clang__)
#define LAZYNORM_INDEPENDENT _Pragma("GCC ivdep")
#else
#define LAZYNORM_INDEPENDENT
#endif

namespace lazynorm {
namespace {

template <bool kBuffer>
bool SgdPass(const SgdStep& s, const OptimizerArrays& o) {
  const float* p = o.p;
  const float* g = o.g;
  const float* buffer = o.moments;
  float* new_p = o.new_p;
  float* new_buffer = o.new_moments;
  const float ahead = s.nesterov ? s.momentum : 0.0f;
  const float kept = s.first ? 0.0f : s.momentum;
  uint32_t largest = 0;
  LAZYNORM_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    const float decayed = g[i] * o.clip + s.l2 * p[i];
    float step = decayed;
    if constexpr (kBuffer) {
      const float b = kept * buffer[i] + s.keep * decayed;
      new_buffer[i] = b;
      largest = Larger(largest, Magnitude(b));
      step = s.nesterov ? decayed + ahead * b : b;
    }
    new_p[i] = p[i] - s.lr * step;
    largest = Larger(largest, Magnitude(new_p[i]));
  }
  return largest < kInfinity;
}

bool Sgd(const SgdStep& s, const OptimizerArrays& o) {
  return s.use_buffer ? SgdPass<true>(s, o) : SgdPass<false>(s, o);
}

template <bool kAmsgrad>
bool AdamPass(const AdamStep& s, const OptimizerArrays& o) {
  const float* p = o.p;
  const float* g = o.g;
  const float* m = o.moments;
  const float* v = o.moments + o.n;
  const float* vmax = o.moments + 2 * o.n;
  float* new_p = o.new_p;
  float* new_m = o.new_moments;
  float* new_v = o.new_moments + o.n;
  float* new_vmax = o.new_moments + 2 * o.n;
  uint32_t largest = 0;
  LAZYNORM_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    const float start = p[i] * s.decay;
    const float gradient = g[i] * o.clip + s.l2 * p[i];
    const float mean = s.beta1 * m[i] + s.one_minus_beta1 * gradient;
    const float square = s.beta2 * v[i] + s.one_minus_beta2 * gradient * gradient;
    float scale = square;
    if constexpr (kAmsgrad) {
      scale = vmax[i] > square ? vmax[i] : square;
      new_vmax[i] = scale;
    }
    new_m[i] = mean;
    new_v[i] = square;
    new_p[i] = start - s.step_size * mean / (__builtin_sqrtf(scale) * s.inverse_root + s.eps);
    largest =
        Larger(largest, Larger(Magnitude(new_p[i]), Larger(Magnitude(mean), Magnitude(square))));
  }
  return largest < kInfinity;
}

bool Adam(const AdamStep& s, bool amsgrad, const OptimizerArrays& o) {
  return amsgrad ? AdamPass<true>(s, o) : AdamPass<false>(s, o);
}

template <bool kCentered, bool kBuffer>
bool RmsPropPass(const RmsPropStep& s, const OptimizerArrays& o) {
  const float* p = o.p;
  const float* g = o.g;
  const float* v = o.moments;
  const float* average = o.moments + o.n;
  const float* buffer = o.moments + (kCentered ? 2 : 1) * o.n;
  float* new_p = o.new_p;
  float* new_v = o.new_moments;
  float* new_average = o.new_moments + o.n;
  float* new_buffer = o.new_moments + (kCentered ? 2 : 1) * o.n;
  uint32_t largest = 0;
  LAZYNORM_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    const float gradient = g[i] * o.clip + s.l2 * p[i];
    const float square = s.alpha * v[i] + s.one_minus_alpha * gradient * gradient;
    new_v[i] = square;
    float spread = square;
    if constexpr (kCentered) {
      const float mean = s.alpha * average[i] + s.one_minus_alpha * gradient;
      new_average[i] = mean;
      spread = square - mean * mean;
      spread = spread > 0 ? spread : 0;  // rounding may leave it below
    }
    float step = gradient / (__builtin_sqrtf(spread) + s.eps);
    if constexpr (kBuffer) {
      step += s.momentum * buffer[i];
      new_buffer[i] = step;
      largest = Larger(largest, Magnitude(step));
    }
    new_p[i] = p[i] - s.lr * step;
    largest = Larger(largest, Larger(Magnitude(new_p[i]), Magnitude(square)));
  }
  return largest < kInfinity;
}

bool RmsProp(const RmsPropStep& s, const OptimizerArrays& o) {
  if (s.centered)
    return s.use_buffer ? RmsPropPass<true, true>(s, o) : RmsPropPass<true, false>(s, o);
  return s.use_buffer ? RmsPropPass<false, true>(s, o) : RmsPropPass<false, false>(s, o);
}

bool Adagrad(const AdagradStep& s, const OptimizerArrays& o) {
  const float* p = o.p;
  const float* g = o.g;
  const float* sum = o.moments;
  float* new_p = o.new_p;
  float* new_sum = o.new_moments;
  uint32_t largest = 0;
  LAZYNORM_INDEPENDENT
  for (int64_t i = 0; i < o.n; ++i) {
    const float gradient = g[i] * o.clip + s.l2 * p[i];
    const float total = sum[i] + gradient * gradient;
    new_sum[i] = total;
    new_p[i] = p[i] - s.rate * gradient / (__builtin_sqrtf(total) + s.eps);
    largest = Larger(largest, Larger(Magnitude(new_p[i]), Magnitude(total)));
  }
  return largest < kInfinity;
}

}  // namespace
}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_KERNELS_OPTIMIZERS_H_
