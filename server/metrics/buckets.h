#ifndef LAZYNORM_SERVER_METRICS_BUCKETS_H_
#define LAZYNORM_SERVER_METRICS_BUCKETS_H_

#include <vector>

namespace lazynorm {

// Upper bounds for durations in seconds: Prometheus' usual ones, and finer below, because a small
// model answers in far less than 5 ms.
inline std::vector<double> SecondsBuckets() {
  return {.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025,
          .05,    .1,    .25,    .5,    1,    2.5,   5,    10};
}

// Upper bounds for losses, whose scale is the user's: about three to a decade.
inline std::vector<double> LossBuckets() {
  return {1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1,   .25,  .5, 1,
          2.5,  5,      10,   25,   50,     100,  250, 500,  1e3, 2500, 5000, 1e4};
}

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_METRICS_BUCKETS_H_
