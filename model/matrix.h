#ifndef LAZYNORM_MODEL_MATRIX_H_
#define LAZYNORM_MODEL_MATRIX_H_

#include <Eigen/Core>
#include <cstdint>

namespace lazynorm {

// Rows of float32, row-major. A ConstMatrixView or MatrixView does not own its numbers.
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixView = Eigen::Map<Matrix>;
using ConstMatrixView = Eigen::Map<const Matrix>;

inline ConstMatrixView ViewOf(const Matrix& m) {
  return ConstMatrixView(m.data(), m.rows(), m.cols());
}

// A block of numbers that only grows, so that a warm learning step does not allocate.
template <class T>
class Buffer {
 public:
  // At least `size` elements, of any value.
  T* Reserve(int64_t size) {
    if (size > data_.size()) data_.resize(size);
    return data_.data();
  }
  T* data() { return data_.data(); }
  const T* data() const { return data_.data(); }

 private:
  Eigen::Array<T, Eigen::Dynamic, 1> data_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_MATRIX_H_
