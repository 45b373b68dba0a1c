// Compiled once for each instruction set, with LAZYNORM_LEVEL set to its name. Only raw loops: a
// template of the standard library instantiated here could be picked by the linker for all.
#include "model/kernels.h"
#include "model/kernels/columns.h"
#include "model/kernels/gemm.h"
#include "model/kernels/optimizers.h"

#define LAZYNORM_CONCAT_(a, b) a##b
#define LAZYNORM_CONCAT(a, b) LAZYNORM_CONCAT_(a, b)
#define LAZYNORM_STRING_(a) #a
#define LAZYNORM_STRING(a) LAZYNORM_STRING_(a)

namespace lazynorm {

extern const Kernels LAZYNORM_CONCAT(kKernels_, LAZYNORM_LEVEL);

const Kernels LAZYNORM_CONCAT(kKernels_, LAZYNORM_LEVEL) = {
    LAZYNORM_STRING(LAZYNORM_LEVEL),
    PackedSize,
    Pack,
    PackScaled,
    Gemm,
    ColumnSums,
    InverseStd,
    ColumnSquares,
    Standardize,
    ScaleShift,
    Normalize,
    ColumnDots,
    BatchNormGradient,
    Relu,
    ReluGradient,
    SumOfSquares,
    AllFinite,
    Sgd,
    Adam,
    RmsProp,
    Adagrad,
};

}  // namespace lazynorm
