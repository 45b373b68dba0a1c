#include "model/kernels.h"

#include <atomic>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lazynorm {

#if defined(__x86_64__)
extern const Kernels kKernels_v2;
extern const Kernels kKernels_v3;
extern const Kernels kKernels_v4;
#else
extern const Kernels kKernels_generic;
#endif

namespace {

struct Levels {
  const Kernels* best_first[3];
  int count = 0;

  Levels() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    if (v4) best_first[count++] = &kKernels_v4;
    if (v3) best_first[count++] = &kKernels_v3;
    best_first[count++] = &kKernels_v2;
#else
    best_first[count++] = &kKernels_generic;
#endif
  }
};

const Levels& MachineLevels() {
  static const Levels levels;
  return levels;
}

std::atomic<const Kernels*>& Active() {
  static std::atomic<const Kernels*> active(MachineLevels().best_first[0]);
  return active;
}

}  // namespace

const Kernels& ActiveKernels() {
  return *Active().load(std::memory_order_relaxed);
}

absl::Span<const Kernels* const> AvailableKernels() {
  return absl::MakeConstSpan(MachineLevels().best_first, MachineLevels().count);
}

bool UseKernels(absl::string_view level) {
  for (const Kernels* kernels : AvailableKernels()) {
    if (kernels->level != level) continue;
    Active().store(kernels, std::memory_order_relaxed);
    return true;
  }
  return false;
}

}  // namespace lazynorm
