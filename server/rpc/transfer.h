#ifndef LAZYNORM_SERVER_RPC_TRANSFER_H_
#define LAZYNORM_SERVER_RPC_TRANSFER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "lazynorm/v1/model_service.pb.h"
#include "server/base/executor.h"
#include "server/hosting/registry.h"
#include "server/rpc/call.h"

namespace lazynorm {

// The part of lazynorm.v1.ModelService that takes models out for other programs and in from them.
// Files are made and read on the executor. Thread-safe.
class Transfer {
 public:
  using ExportStream = ServerStream<v1::ExportModelRequest, v1::ExportModelResponse>;
  using ImportHandler = ClientStreamHandler<v1::ImportModelRequest, v1::Model>;
  using Describe = std::function<void(const HostedModel&, v1::Model*)>;

  // Imports at once: each keeps its whole file in memory.
  static constexpr int kMostImports = 4;

  // Both must outlive this. `version` is the server's; `max_import_bytes` bounds a file.
  Transfer(Registry& registry, Executor& executor, std::string version, int64_t max_import_bytes)
      : registry_(registry),
        executor_(executor),
        version_(std::move(version)),
        max_import_bytes_(max_import_bytes) {}

  void Export(std::shared_ptr<ExportStream> stream);
  // `describe` fills in the answer.
  std::unique_ptr<ImportHandler> Import(Describe describe);

 private:
  friend class ImportStream;

  absl::StatusOr<std::shared_ptr<HostedModel>> Create(const std::string& id,
                                                      const v1::ModelSpec* spec,
                                                      const std::string& file);

  Registry& registry_;
  Executor& executor_;
  const std::string version_;
  const int64_t max_import_bytes_;
  std::atomic<int> imports_ = 0;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TRANSFER_H_
