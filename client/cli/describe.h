#ifndef LAZYNORM_CLIENT_CLI_DESCRIBE_H_
#define LAZYNORM_CLIENT_CLI_DESCRIBE_H_

#include <ostream>
#include <string>
#include <vector>

#include "client/cli/format.h"
#include "lazynorm/v1/model_service.pb.h"

namespace lazynorm {

// Writes a model: as lines "name  value", or as JSON.
void Describe(const v1::Model& model, Format format, std::ostream* out);

// Writes models, one a line.
void DescribeAll(const std::vector<v1::Model>& models, Format format, std::ostream* out);

// "2026-01-31 12:00:00 UTC".
std::string TimeText(const google::protobuf::Timestamp& time);

// A layer in a word or two, "Linear(64)"; the model's parts likewise.
std::string LayerText(const v1::Layer& layer);
std::string LossText(const v1::Loss& loss);
std::string OptimizerText(const v1::Optimizer& optimizer);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_DESCRIBE_H_
