#ifndef LAZYNORM_MODEL_MATRIX_H_
#define LAZYNORM_MODEL_MATRIX_H_

#include <Eigen/Core>
#include <cstdint>

namespace lazynorm {

// Rows of float32, row-major.
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// A look at rows that somebody else owns. Copied and assigned like a pointer, which Eigen::Map,
// assigning numbers, is not.
template <class T>
class BasicMatrixView {
 public:
  BasicMatrixView() = default;
  BasicMatrixView(T* data, int64_t rows, int64_t cols) : data_(data), rows_(rows), cols_(cols) {}
  template <class U>
  BasicMatrixView(const BasicMatrixView<U>& other)  // NOLINT: as T* becomes const T*
      : BasicMatrixView(other.data(), other.rows(), other.cols()) {}

  T* data() const { return data_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t size() const { return rows_ * cols_; }
  BasicMatrixView first(int64_t rows) const { return {data_, rows, cols_}; }
  T* row(int64_t i) const { return data_ + i * cols_; }
  T& operator()(int64_t i, int64_t j) const { return data_[i * cols_ + j]; }

 private:
  T* data_ = nullptr;
  int64_t rows_ = 0, cols_ = 0;
};
using MatrixView = BasicMatrixView<float>;
using ConstMatrixView = BasicMatrixView<const float>;

inline ConstMatrixView ViewOf(const Matrix& m) {
  return {m.data(), m.rows(), m.cols()};
}
inline MatrixView ViewOf(Matrix& m) {
  return {m.data(), m.rows(), m.cols()};
}
inline Eigen::Map<const Matrix> ToEigen(ConstMatrixView m) {
  return {m.data(), m.rows(), m.cols()};
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
