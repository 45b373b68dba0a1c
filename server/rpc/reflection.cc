#include "server/rpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/rpc/transport.h"

namespace lazynorm {
namespace {

namespace proto = grpc::reflection::v1alpha;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;

void SetError(absl::StatusCode code, const std::string& message,
              proto::ServerReflectionResponse* response) {
  proto::ErrorResponse* error = response->mutable_error_response();
  error->set_error_code(static_cast<int>(code));
  error->set_error_message(message);
}

// The file and, before it, all that it imports, each once.
void AddFile(const FileDescriptor* file, std::set<const FileDescriptor*>& added,
             proto::FileDescriptorResponse* response) {
  if (!added.insert(file).second) return;
  for (int i = 0; i < file->dependency_count(); ++i) {
    AddFile(file->dependency(i), added, response);
  }
  google::protobuf::FileDescriptorProto description;
  file->CopyTo(&description);
  description.SerializeToString(response->add_file_descriptor_proto());
}

void Describe(const FileDescriptor* file, const std::string& what,
              proto::ServerReflectionResponse* response) {
  if (file == nullptr) {
    return SetError(absl::StatusCode::kNotFound, absl::StrCat("there is no ", what), response);
  }
  std::set<const FileDescriptor*> added;
  AddFile(file, added, response->mutable_file_descriptor_response());
}

void ListServices(const std::vector<std::string>& services, proto::ListServiceResponse* response) {
  for (const std::string& name : services) response->add_service()->set_name(name);
}

proto::ServerReflectionResponse Answer(const Transport& transport,
                                       const proto::ServerReflectionRequest& request) {
  using Request = proto::ServerReflectionRequest;
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  proto::ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case Request::kListServices:
      ListServices(transport.services(), response.mutable_list_services_response());
      break;
    case Request::kFileByFilename:
      Describe(pool.FindFileByName(request.file_by_filename()),
               absl::StrCat("file ", request.file_by_filename()), &response);
      break;
    case Request::kFileContainingSymbol:
      Describe(pool.FindFileContainingSymbol(request.file_containing_symbol()),
               absl::StrCat("symbol ", request.file_containing_symbol()), &response);
      break;
    default:  // no message of ours has extensions
      SetError(absl::StatusCode::kUnimplemented,
               "expected list_services, file_by_filename or file_containing_symbol", &response);
  }
  return response;
}

class Stream : public BidiHandler<proto::ServerReflectionRequest, proto::ServerReflectionResponse> {
 public:
  explicit Stream(const Transport& transport) : transport_(transport) {}

  void OnMessage(proto::ServerReflectionRequest request,
                 Reply<proto::ServerReflectionResponse> reply) override {
    reply(Answer(transport_, request));
  }

 private:
  const Transport& transport_;
};

}  // namespace

void AddReflectionService(Transport& transport) {
  using Service = proto::ServerReflection::AsyncService;
  Service* service = transport.AddService(std::make_unique<Service>());
  transport.AddBidi(service, &Service::RequestServerReflectionInfo,
                    "grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo",
                    [&transport](Call&) { return std::make_unique<Stream>(transport); },
                    {.always_open = true});
}

}  // namespace lazynorm
