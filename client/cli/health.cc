#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/errors.h"

namespace lazynorm {
namespace {

constexpr char kExamples[] =
    "  lazynorm health\n"
    "  lazynorm health --service readiness --timeout 1s\n"
    "  lazynorm health --service models/demand\n"
    "Exits 0 only when the answer is SERVING.";

absl::Status Health(const Session& session, const std::string& service) {
  using Response = grpc::health::v1::HealthCheckResponse;
  const absl::StatusOr<Client> client = session.Connect();
  if (!client.ok()) return client.status();
  const absl::StatusOr<Response> health = client->Check(service);
  if (absl::IsNotFound(health.status())) {
    return absl::NotFoundError(absl::StrCat("no service \"", service, "\" at this server"));
  }
  if (!health.ok()) return health.status();
  const std::string status = Response::ServingStatus_Name(health->status());
  std::cout << status << "\n";
  if (health->status() == Response::SERVING) return absl::OkStatus();
  return NotServing(absl::StrCat(session.server, " answers ", status));
}

}  // namespace

void AddHealth(CLI::App& app, Session& session) {
  auto service = std::make_shared<std::string>();
  CLI::App* command =
      AddCommand(app, session, "health", "Asks whether the server is serving", kExamples,
                 [&session, service] { return Health(session, *service); });
  command
      ->add_option("--service", *service,
                   "liveness, readiness, a service's full name or models/MODEL; the whole server "
                   "if not given")
      ->type_name("NAME");
}

}  // namespace lazynorm
