#ifndef LAZYNORM_TESTS_SERVER_RPC_INFERENCE_FIXTURE_H_
#define LAZYNORM_TESTS_SERVER_RPC_INFERENCE_FIXTURE_H_

#include <memory>
#include <string>
#include <vector>

#include "inference/inference_service.grpc.pb.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {

using grpc::StatusCode;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using Stub = inference::GRPCInferenceService::Stub;

inline const ErrorDetails kNotFound = Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND");

template <class T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::string Bytes(const v1::Matrix& matrix) {
  return Bytes(std::vector<float>(matrix.values().begin(), matrix.values().end()));
}

// A request for `rows` rows of the type, without data.
inline ModelInferRequest Query(const std::string& model, int rows, int columns,
                               const std::string& datatype = "FP32") {
  ModelInferRequest request;
  request.set_model_name(model);
  auto* input = request.add_inputs();
  input->set_name("features");
  input->set_datatype(datatype);
  input->add_shape(rows);
  input->add_shape(columns);
  return request;
}

inline ModelInferRequest RawQuery(const std::string& model, const v1::Matrix& x) {
  ModelInferRequest request = Query(model, x.rows(), x.columns());
  request.add_raw_input_contents(Bytes(x));
  return request;
}

inline ModelInferRequest TypedQuery(const std::string& model, const v1::Matrix& x) {
  ModelInferRequest request = Query(model, x.rows(), x.columns());
  *request.mutable_inputs(0)->mutable_contents()->mutable_fp32_contents() = x.values();
  return request;
}

inline void SetParameter(ModelInferRequest& request, const std::string& name, int64_t value) {
  (*request.mutable_parameters())[name].set_int64_param(value);
}

// A server with the lazy model "m" of two outputs, asked in the Open Inference Protocol.
class InferenceServiceTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    stub_ = inference::GRPCInferenceService::NewStub(client().channel);
    ASSERT_TRUE(client().Create("m", "mlp { hidden: 4 out_features: 2 } seed: 5").ok());
  }
  void Train(int steps, const std::string& model = "m", int columns = 3) {
    for (int i = 0; i < steps; ++i) {
      v1::TrainRequest request = RandomStep(model, 8, columns, i);
      *request.mutable_targets() = RandomMatrix(8, 2, i);
      ASSERT_TRUE(client().Train(request).ok());
    }
  }
  template <class Request, class Response>
  Answer<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                     Response*),
                        const Request& request, absl::Duration timeout = kPatience) {
    return Connection::Call(*stub_, method, request, timeout);
  }
  Answer<ModelInferResponse> Infer(const ModelInferRequest& request,
                                   absl::Duration timeout = kPatience) {
    return Call(&Stub::ModelInfer, request, timeout);
  }
  ErrorDetails InferError(const ModelInferRequest& request) { return Infer(request).error(); }
  // What lazynorm.v1 predicts, as bytes.
  std::string Predicted(const std::string& model, const v1::Matrix& x,
                        v1::Output output = v1::OUTPUT_RAW) {
    v1::PredictRequest request;
    request.set_model(model);
    *request.mutable_features() = x;
    request.set_output(output);
    const auto answer = client().Predict(request);
    EXPECT_TRUE(answer.ok()) << answer.error();
    return Bytes(answer->predictions());
  }
  template <class Request>
  static Request Named(const std::string& name, const std::string& version = "") {
    Request request;
    request.set_name(name);
    request.set_version(version);
    return request;
  }
  bool ModelReady(const std::string& name, const std::string& version = "") {
    const auto answer = Call(&Stub::ModelReady, Named<inference::ModelReadyRequest>(name, version));
    EXPECT_TRUE(answer.ok()) << answer.error();
    return answer->ready();
  }

  std::unique_ptr<Stub> stub_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SERVER_RPC_INFERENCE_FIXTURE_H_
