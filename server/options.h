#ifndef LAZYNORM_SERVER_OPTIONS_H_
#define LAZYNORM_SERVER_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lazynorm {

// Every setting of the server with its default. The flags of main.cc have the same names.
struct Options {
  // TCP addresses and unix: sockets; port 0 picks a free one.
  std::vector<std::string> listen = {"127.0.0.1:50051"};
  std::string metrics_listen = "127.0.0.1:9464";  // empty: none
  bool web_page = true;                           // at / of metrics_listen
  bool insecure = false;                          // plain text beyond this machine
  std::string tls_cert, tls_key, tls_client_ca;   // PEM files; empty: no TLS, any caller
  std::string auth_tokens_file;                   // see Tokens; empty: everybody may do everything
  bool reflection = true;
  std::string data_dir = "lazynorm-data";  // where the default store lives
  std::string store;                       // see OpenStore; empty: SQLite in data_dir
  std::string durability = "fsync";        // fsync, async or none
  std::string recover = "skip-damaged";    // or strict
  std::string restore_from;                // a backup to begin with; empty: none
  std::string migrate_from;  // a store to copy into this one, instead of serving; empty: none
  std::string models_dir;    // empty: none
  // Where several replicas share the store: where the others reach this one (empty: the first of
  // listen), how long it may be silent before they take its models, and how often it looks at what
  // they have learned.
  std::string advertise;
  absl::Duration lease_timeout = absl::Seconds(3);
  absl::Duration follow_interval = absl::Milliseconds(50);
  absl::Duration drain = absl::Seconds(5);  // served on after SIGTERM
  int compute_threads = 0;  // for training, and as many for large predictions; 0: one a core
  int polling_threads = 1;
  // The instructions that arithmetic uses: a level of model/kernels.h, or auto for the machine's
  // best.
  std::string cpu = "auto";

  int64_t max_message_bytes = 64 << 20;
  int max_rows_per_request = 65536;
  int max_width = 16384;
  int64_t max_parameters = 50'000'000;  // of one model
  int64_t max_step_bytes = 1 << 30;     // of memory, for the rows of one learning step
  int max_models = 1000;
  int max_queued_steps = 1024;  // of one model
  int max_streams = 256;
  absl::Duration max_stream_idle = absl::Hours(1);
  int max_calls_per_second = 0;  // of one caller; 0: any number
  int max_calls_in_flight = 0;   // of one caller; 0: any number

  // Of one model; beyond them the oldest is forgotten.
  int64_t max_remembered_predictions = 100'000;
  int64_t max_remembered_bytes = 64 << 20;
  absl::Duration remember_predictions_for = absl::Hours(24);

  int snapshots_per_model = 2;     // past steps can be restored back to the oldest of them
  int checkpoints_per_model = 20;  // the oldest go; 0: all are kept
  // How long repeating the journals may take at the next start, on one core: bounds the snapshots.
  absl::Duration replay_budget = absl::Seconds(5);
};

// What OpenStore is given: `store`, or SQLite in `data_dir`.
std::string StoreUri(const Options& options);

// Whether only this machine reaches an address: a unix socket, or one of the loopback.
bool IsLocal(absl::string_view address);
// The address in use, see Options::advertise.
std::string Advertised(const Options& options);
// Whether only this machine reaches that address, though others reach the server.
bool AdvertisesLoopback(const Options& options);

// INVALID_ARGUMENT naming the flag, what it was given and what it expects.
absl::Status Validate(const Options& options);

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_OPTIONS_H_
