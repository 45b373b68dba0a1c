#ifndef LAZYNORM_TESTS_BENCH_BARE_SERVERS_H_
#define LAZYNORM_TESTS_BENCH_BARE_SERVERS_H_

namespace lazynorm {

// Services that do nothing but parse a PredictRequest and answer with a number a row: what gRPC
// itself costs, with messages as large as the real ones. Each listens on a free port of the
// loopback, says " ports=N" on stderr and serves until the process is killed.

// On the callback API, with the threads gRPC chooses for it.
void ServeBareCallback();

// On one completion queue with one thread, which is how lazynormd does it.
void ServeBareAsync();

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_BENCH_BARE_SERVERS_H_
