#ifndef LAZYNORM_MODEL_RANDOM_H_
#define LAZYNORM_MODEL_RANDOM_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace lazynorm {

// The output function of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
// generators", 2014): a bijection of 64 bits that leaves no trace of its argument.
constexpr uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Takes a run of bytes into a hash, its length first: the same on any machine.
inline uint64_t AbsorbBytes(uint64_t hash, const void* data, int64_t length) {
  const char* bytes = static_cast<const char*>(data);
  hash = Mix(hash ^ static_cast<uint64_t>(length));
  for (int64_t i = 0; i < length; i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + i, std::min<int64_t>(8, length - i));
    hash = Mix(hash ^ word) + 0x9e3779b97f4a7c15u;
  }
  return hash;
}

// Random numbers by counter: the i-th number of a stream depends on the stream's key and i alone,
// so the same seed gives the same numbers on any machine, in any order, with any threads.
// Immutable.
class Random {
 public:
  explicit constexpr Random(uint64_t seed) : key_(Mix(seed + kGolden)) {}

  // An independent stream for each name, such as the index of a layer or of a step.
  constexpr Random Stream(uint64_t name) const {
    Random stream(*this);
    stream.key_ = Mix(key_ ^ Mix(name + kGolden));
    return stream;
  }

  constexpr uint64_t Bits(uint64_t i) const { return Mix(key_ + (i + 1) * kGolden); }

  // Uniform in [0, 1), a multiple of 2^-24: exact as a float.
  constexpr float Uniform(uint64_t i) const { return static_cast<float>(Bits(i) >> 40) * 0x1p-24f; }

 private:
  static constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
  uint64_t key_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_MODEL_RANDOM_H_
