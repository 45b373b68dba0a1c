#include "server/flags.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/time/time.h"

namespace {

const lazynorm::Options kDefaults;

}  // namespace

ABSL_FLAG(std::vector<std::string>, listen, kDefaults.listen,
          "where to serve gRPC: host:port and unix:path, separated by commas; port 0 picks one");
ABSL_FLAG(std::string, metrics_listen, kDefaults.metrics_listen,
          "where to serve /metrics, /healthz and /readyz over HTTP; empty for nowhere");
ABSL_FLAG(bool, web_page, kDefaults.web_page,
          "whether / of --metrics_listen is a page with live charts of the models");
ABSL_FLAG(bool, insecure, kDefaults.insecure,
          "whether other machines may reach this one in plain text: --listen beyond the loopback "
          "without --tls_cert, and /v2 at a --metrics_listen beyond it");
ABSL_FLAG(std::string, tls_cert, kDefaults.tls_cert,
          "the server's certificate with its chain, a PEM file; read again when it changes, as all "
          "these files");
ABSL_FLAG(std::string, tls_key, kDefaults.tls_key, "its private key, a PEM file");
ABSL_FLAG(std::string, tls_client_ca, kDefaults.tls_client_ca,
          "a PEM file of the authorities that sign callers' certificates; without it callers need "
          "none");
ABSL_FLAG(std::string, auth_tokens_file, kDefaults.auth_tokens_file,
          "the tokens that callers need, a line each as \"lazynorm token\" writes it; empty: none");
ABSL_FLAG(bool, reflection, kDefaults.reflection,
          "whether tools may ask which services and messages there are");
ABSL_FLAG(std::string, data_dir, kDefaults.data_dir,
          "the folder that holds the models; made if need be; one process at a time");
ABSL_FLAG(std::string, store, kDefaults.store,
          "where models are kept: sqlite:///DIR/lazynorm.db; postgresql://USER@HOST/DATABASE, as "
          "libpq reads it, which several replicas may share; or memory: for nowhere; empty: "
          "lazynorm.db in --data_dir");
ABSL_FLAG(std::string, advertise, kDefaults.advertise,
          "where other replicas of the same postgresql:// store reach this one, host:port; empty: "
          "the first of --listen");
ABSL_FLAG(absl::Duration, lease_timeout, kDefaults.lease_timeout,
          "how long a replica may be silent before others take the models that it writes");
ABSL_FLAG(
    absl::Duration, follow_interval, kDefaults.follow_interval,
    "how often a replica looks at what others have learned: what it serves of their models is "
    "about as old");
ABSL_FLAG(
    std::string, durability, kDefaults.durability,
    "when a step counts as kept: fsync (on the disk), async (in the kernel; a power cut takes "
    "the latest steps), none (a power cut may take everything)");
ABSL_FLAG(std::string, recover, kDefaults.recover,
          "at start, when a model turns out to be damaged: skip-damaged (the others serve, it "
          "answers DATA_LOSS) or strict (do not start)");
ABSL_FLAG(std::string, restore_from, kDefaults.restore_from,
          "a folder written by \"lazynorm backup\", to begin with when --data_dir is still empty");
ABSL_FLAG(std::string, migrate_from, kDefaults.migrate_from,
          "a store, as for --store, whose models are copied into this one with their history; then "
          "the program ends. Nobody may use either meanwhile");
ABSL_FLAG(
    int, snapshots_per_model, kDefaults.snapshots_per_model,
    "snapshots kept of each model, the oldest go: the journal, and with it \"lazynorm restore "
    "--step\", reaches back to the oldest");
ABSL_FLAG(int, checkpoints_per_model, kDefaults.checkpoints_per_model,
          "checkpoints kept of each model, the oldest go; 0 keeps all");
ABSL_FLAG(absl::Duration, replay_budget, kDefaults.replay_budget,
          "snapshots are taken so often that repeating what came after them takes no longer than "
          "this at the next start");
ABSL_FLAG(std::string, models_dir, "",
          "a folder of NAME.textproto or NAME.json, each a lazynorm.v1.ModelSpec: created at start "
          "where there is no model NAME");
ABSL_FLAG(absl::Duration, drain_seconds, kDefaults.drain,
          "how long to serve on after SIGTERM, not ready any more, such as 5s");
ABSL_FLAG(int, compute_threads, kDefaults.compute_threads,
          "threads for learning steps, and as many for large predictions; 0: one a core");
ABSL_FLAG(int, polling_threads, kDefaults.polling_threads,
          "threads that read requests and answer small ones; one is the fastest on few cores");
ABSL_FLAG(
    std::string, cpu, kDefaults.cpu,
    "the instructions that arithmetic uses: v2 (SSE4.2), v3 (AVX2), v4 (AVX-512), or auto for "
    "the best that this machine has; the same numbers come out only on the same level");
ABSL_FLAG(int64_t, max_message_bytes, kDefaults.max_message_bytes, "largest request");
ABSL_FLAG(int, max_rows_per_request, kDefaults.max_rows_per_request, "rows of one request");
ABSL_FLAG(int, max_width, kDefaults.max_width, "widest layer");
ABSL_FLAG(int64_t, max_parameters, kDefaults.max_parameters, "parameters of one model");
ABSL_FLAG(int64_t, max_step_bytes, kDefaults.max_step_bytes,
          "memory that the rows of one Train may need: rows times the widths of all layers");
ABSL_FLAG(int, max_models, kDefaults.max_models, "models");
ABSL_FLAG(int, max_queued_steps, kDefaults.max_queued_steps,
          "Train requests of one model that may wait; more are refused at once");
ABSL_FLAG(int, max_streams, kDefaults.max_streams, "streams open at once");
ABSL_FLAG(absl::Duration, max_stream_idle, kDefaults.max_stream_idle,
          "how long a caller may send nothing on its stream, or take nothing that it is sent, "
          "before the stream ends; inf for ever");
ABSL_FLAG(int, max_calls_per_second, kDefaults.max_calls_per_second,
          "calls of one caller a second, and as many messages of its streams; 0 for any number");
ABSL_FLAG(int, max_calls_in_flight, kDefaults.max_calls_in_flight,
          "calls of one caller at once; 0 for any number");
ABSL_FLAG(int64_t, max_remembered_predictions, kDefaults.max_remembered_predictions,
          "predictions of one model that may wait for their labels (Predict with prediction_ids); "
          "the oldest are forgotten; 0 for none");
ABSL_FLAG(int64_t, max_remembered_bytes, kDefaults.max_remembered_bytes,
          "the memory they may take, of one model");
ABSL_FLAG(absl::Duration, remember_predictions_for, kDefaults.remember_predictions_for,
          "how long they are remembered, such as 24h");

namespace lazynorm {

Options OptionsFromFlags() {
  return {.listen = absl::GetFlag(FLAGS_listen),
          .metrics_listen = absl::GetFlag(FLAGS_metrics_listen),
          .web_page = absl::GetFlag(FLAGS_web_page),
          .insecure = absl::GetFlag(FLAGS_insecure),
          .tls_cert = absl::GetFlag(FLAGS_tls_cert),
          .tls_key = absl::GetFlag(FLAGS_tls_key),
          .tls_client_ca = absl::GetFlag(FLAGS_tls_client_ca),
          .auth_tokens_file = absl::GetFlag(FLAGS_auth_tokens_file),
          .reflection = absl::GetFlag(FLAGS_reflection),
          .data_dir = absl::GetFlag(FLAGS_data_dir),
          .store = absl::GetFlag(FLAGS_store),
          .durability = absl::GetFlag(FLAGS_durability),
          .recover = absl::GetFlag(FLAGS_recover),
          .restore_from = absl::GetFlag(FLAGS_restore_from),
          .migrate_from = absl::GetFlag(FLAGS_migrate_from),
          .models_dir = absl::GetFlag(FLAGS_models_dir),
          .advertise = absl::GetFlag(FLAGS_advertise),
          .lease_timeout = absl::GetFlag(FLAGS_lease_timeout),
          .follow_interval = absl::GetFlag(FLAGS_follow_interval),
          .drain = absl::GetFlag(FLAGS_drain_seconds),
          .compute_threads = absl::GetFlag(FLAGS_compute_threads),
          .polling_threads = absl::GetFlag(FLAGS_polling_threads),
          .cpu = absl::GetFlag(FLAGS_cpu),
          .max_message_bytes = absl::GetFlag(FLAGS_max_message_bytes),
          .max_rows_per_request = absl::GetFlag(FLAGS_max_rows_per_request),
          .max_width = absl::GetFlag(FLAGS_max_width),
          .max_parameters = absl::GetFlag(FLAGS_max_parameters),
          .max_step_bytes = absl::GetFlag(FLAGS_max_step_bytes),
          .max_models = absl::GetFlag(FLAGS_max_models),
          .max_queued_steps = absl::GetFlag(FLAGS_max_queued_steps),
          .max_streams = absl::GetFlag(FLAGS_max_streams),
          .max_stream_idle = absl::GetFlag(FLAGS_max_stream_idle),
          .max_calls_per_second = absl::GetFlag(FLAGS_max_calls_per_second),
          .max_calls_in_flight = absl::GetFlag(FLAGS_max_calls_in_flight),
          .max_remembered_predictions = absl::GetFlag(FLAGS_max_remembered_predictions),
          .max_remembered_bytes = absl::GetFlag(FLAGS_max_remembered_bytes),
          .remember_predictions_for = absl::GetFlag(FLAGS_remember_predictions_for),
          .snapshots_per_model = absl::GetFlag(FLAGS_snapshots_per_model),
          .checkpoints_per_model = absl::GetFlag(FLAGS_checkpoints_per_model),
          .replay_budget = absl::GetFlag(FLAGS_replay_budget)};
}

}  // namespace lazynorm
