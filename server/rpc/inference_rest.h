#ifndef LAZYNORM_SERVER_RPC_INFERENCE_REST_H_
#define LAZYNORM_SERVER_RPC_INFERENCE_REST_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/metrics/http.h"
#include "server/rpc/guard.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/transport.h"

namespace lazynorm {

// The Open Inference Protocol in its REST form:
//
//   GET  /v2                              GET  /v2/models/NAME[/versions/STEP]
//   GET  /v2/health/live                  GET  /v2/models/NAME[/versions/STEP]/ready
//   GET  /v2/health/ready                 POST /v2/models/NAME[/versions/STEP]/infer
//
// Errors are {"error": message} with the HTTP code of google.rpc.Code. A caller needs what it needs
// for the same over gRPC: "Authorization: Bearer TOKEN". Thread-safe.
class InferenceRest {
 public:
  // An answer takes no longer, whatever step it waits for.
  static constexpr absl::Duration kLongest = absl::Seconds(30);

  // All must outlive this.
  InferenceRest(InferenceService& service, const Transport& transport, Guard& guard)
      : service_(service), transport_(transport), guard_(guard) {}

  // Blocks until there is an answer.
  HttpAnswer Answer(const HttpRequest& request);

 private:
  absl::StatusOr<HttpAnswer> Route(const HttpRequest& request);
  absl::StatusOr<HttpAnswer> AnswerHealth(const std::string& what) const;
  // `path`: what follows /v2/models.
  absl::StatusOr<HttpAnswer> AnswerModel(const HttpRequest& request, const Pass& pass,
                                         std::vector<std::string> path);
  absl::StatusOr<std::string> Infer(const HttpRequest& request, const std::string& name,
                                    const std::string& version);

  InferenceService& service_;
  const Transport& transport_;
  Guard& guard_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_INFERENCE_REST_H_
