#include "server/convert/api.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lazynorm/v1/model_service.pb.h"
#include "model/errors.h"
#include "tests/support/text_proto.h"

namespace lazynorm {
namespace {

constexpr RequestLimits kSmall{.max_rows = 4, .max_width = 3};

void ExpectError(const absl::Status& status, const std::string& reason, const std::string& field) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(ReasonOf(status), reason) << status;
  EXPECT_EQ(FieldOf(status), field) << status;
}

v1::Matrix Filled(int rows, int columns) {
  v1::Matrix matrix;
  matrix.set_rows(rows);
  matrix.set_columns(columns);
  for (int i = 0; i < rows * columns; ++i) matrix.add_values(static_cast<float>(i));
  return matrix;
}

TEST(ModelIdTest, WellFormedIds) {
  for (const std::string& id : {std::string("a"), std::string("a1"), std::string("a-b-9"),
                                std::string("abc--d"), std::string(63, 'z')}) {
    EXPECT_TRUE(CheckModelId(id).ok()) << id;
  }
}

TEST(ModelIdTest, IllFormedIdsAreRefused) {
  for (const std::string& id :
       {std::string(), std::string("A"), std::string("1a"), std::string("-a"), std::string("a-"),
        std::string("a_b"), std::string("a.b"), std::string("a b"), std::string("ä"),
        std::string("a/b"), std::string("a\0b", 3), std::string(64, 'z')}) {
    ExpectError(CheckModelId(id), "INVALID_MODEL_ID", "model_id");
  }
}

TEST(MatrixTest, IsLookedAtWhereItStands) {
  const v1::Matrix proto = Filled(2, 3);
  const auto view = ToMatrix(proto, "features", {});
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->rows(), 2);
  EXPECT_EQ(view->cols(), 3);
  EXPECT_EQ(view->data(), proto.values().data());
}

TEST(MatrixTest, ShapesThatDoNotFitTheValuesAreRefused) {
  for (const char* text : {"rows: 1 columns: 2 values: 1", "rows: 1 columns: 1 values: 1 values: 2",
                           "rows: -1 columns: -1 values: 1", "rows: -1", "columns: -2", "values: 1",
                           "rows: 1 columns: 1", "rows: 2147483647 columns: 2147483647",
                           "rows: -2147483648 columns: -2147483648"}) {
    ExpectError(ToMatrix(Parse<v1::Matrix>(text), "features", {}).status(), "SHAPE_MISMATCH",
                "features.values");
  }
  ExpectError(ToMatrix(Parse<v1::Matrix>("rows: 3"), "targets", {}).status(), "SHAPE_MISMATCH",
              "targets.columns");
}

TEST(MatrixTest, NoRowsAreAnEmptyBatch) {
  ExpectError(ToMatrix({}, "features", {}).status(), "EMPTY_BATCH", "features");
  ExpectError(ToMatrix(Parse<v1::Matrix>("columns: 3"), "features", {}).status(), "EMPTY_BATCH",
              "features");
}

TEST(MatrixTest, LimitsAreTheLastThatIsAllowed) {
  EXPECT_TRUE(ToMatrix(Filled(4, 3), "features", kSmall).ok());
  ExpectError(ToMatrix(Filled(5, 1), "features", kSmall).status(), "LIMIT_EXCEEDED",
              "features.rows");
  ExpectError(ToMatrix(Filled(1, 4), "targets", kSmall).status(), "LIMIT_EXCEEDED",
              "targets.columns");
}

TEST(MatrixTest, TheFirstNumberThatIsNotFiniteIsNamed) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const int at : {0, 17, 35}) {
      v1::Matrix proto = Filled(6, 6);
      proto.set_values(at, bad);
      proto.set_values(35, bad);
      ExpectError(ToMatrix(proto, "features", {}).status(), "NON_FINITE_VALUE",
                  "features.values[" + std::to_string(at) + "]");
    }
  }
  v1::Matrix largest = Filled(1, 2);
  largest.set_values(0, std::numeric_limits<float>::max());
  largest.set_values(1, std::numeric_limits<float>::denorm_min());
  EXPECT_TRUE(ToMatrix(largest, "features", {}).ok());
}

constexpr char kTrain[] =
    "features { rows: 2 columns: 1 values: 1 values: 2 } "
    "targets { rows: 2 columns: 1 values: 3 values: 4 } ";

TEST(TrainRequestTest, BecomesACommand) {
  const auto proto =
      Parse<v1::TrainRequest>(std::string(kTrain) +
                              "labels: 5 labels: 6 sample_weights: 7 sample_weights: 8 "
                              "request_id: 'id' statistics: STATISTICS_MODE_FREEZE");
  const auto command = ToCommand(proto, {});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->batch.features(1, 0), 2);
  EXPECT_EQ(command->batch.targets(1, 0), 4);
  EXPECT_EQ(command->batch.labels, absl::MakeConstSpan({5, 6}));
  EXPECT_EQ(command->batch.sample_weights, absl::MakeConstSpan({7.0f, 8.0f}));
  EXPECT_EQ(command->request_id, "id");
  EXPECT_TRUE(command->freeze_statistics);
}

TEST(TrainRequestTest, UpdatesStatisticsUnlessAskedToFreezeThem) {
  EXPECT_FALSE(ToCommand(Parse<v1::TrainRequest>(kTrain), {})->freeze_statistics);
  const auto update =
      Parse<v1::TrainRequest>(std::string(kTrain) + "statistics: STATISTICS_MODE_UPDATE");
  EXPECT_FALSE(ToCommand(update, {})->freeze_statistics);
}

TEST(TrainRequestTest, MayDoWithoutTargets) {
  const auto proto = Parse<v1::TrainRequest>(
      "features { rows: 1 columns: 1 values: 1 } targets { columns: 3 } labels: 0");
  const auto command = ToCommand(proto, {});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->batch.targets.size(), 0);
}

TEST(TrainRequestTest, RefusalsNameTheField) {
  const auto error = [](const std::string& text) {
    return ToCommand(Parse<v1::TrainRequest>(text), kSmall).status();
  };
  ExpectError(error(""), "EMPTY_BATCH", "features");
  ExpectError(error("features { rows: 3 columns: 1 values: 1 }"), "SHAPE_MISMATCH",
              "features.values");
  ExpectError(error("features { rows: 1 columns: 1 values: 1 } targets { rows: 3 columns: 1 }"),
              "SHAPE_MISMATCH", "targets.values");
  ExpectError(error("features { rows: 1 columns: 1 values: 1 } "
                    "targets { rows: 1 columns: 2 values: 1 values: nan }"),
              "NON_FINITE_VALUE", "targets.values[1]");
  ExpectError(error(std::string(kTrain) + "statistics: 3"), "INVALID_UPDATE", "statistics");
}

TEST(TrainRequestTest, ARequestIdHasAtMost128Bytes) {
  auto proto = Parse<v1::TrainRequest>(kTrain);
  proto.set_request_id(std::string(128, 'x'));
  EXPECT_TRUE(ToCommand(proto, {}).ok());
  proto.set_request_id(std::string(129, 'x'));
  ExpectError(ToCommand(proto, {}).status(), "LIMIT_EXCEEDED", "request_id");
}

constexpr char kLabels[] =
    "targets { rows: 2 columns: 1 values: 3 values: 4 } "
    "prediction_ids: 'a' prediction_ids: 'b' ";

TEST(TrainRequestTest, MayNameRememberedRowsInsteadOfFeatures) {
  const auto proto = Parse<v1::TrainRequest>(kLabels);
  const auto command = ToCommand(proto, {});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->prediction_ids, (std::vector<absl::string_view>{"a", "b"}));
  EXPECT_EQ(command->batch.features.rows(), 0);
  EXPECT_EQ(command->batch.targets(1, 0), 4);
}

TEST(TrainRequestTest, RememberedRowsAndFeaturesDoNotGoTogether) {
  for (const char* features :
       {"features { rows: 2 columns: 1 values: 1 values: 2 }", "features { columns: 1 }"}) {
    ExpectError(ToCommand(Parse<v1::TrainRequest>(std::string(kLabels) + features), {}).status(),
                "SHAPE_MISMATCH", "features");
  }
  const auto many =
      Parse<v1::TrainRequest>("prediction_ids: ['a', 'b', 'c', 'd', 'e'] targets { columns: 1 }");
  ExpectError(ToCommand(many, kSmall).status(), "LIMIT_EXCEEDED", "prediction_ids");
  ExpectError(ToCommand(Parse<v1::TrainRequest>("prediction_ids: ['a', 'a']"), {}).status(),
              "SHAPE_MISMATCH", "prediction_ids[1]");
}

TEST(PredictionIdsTest, AreOneARowEachOnceAndOf1To128Bytes) {
  const auto status = [](const std::vector<std::string>& ids, int64_t rows) {
    v1::PredictRequest request;
    for (const std::string& id : ids) request.add_prediction_ids(id);
    return ToPredictionIds(request.prediction_ids(), rows).status();
  };
  EXPECT_TRUE(status({"a", std::string(128, 'x')}, 2).ok());
  EXPECT_TRUE(status({}, 7).ok());
  ExpectError(status({"a"}, 2), "SHAPE_MISMATCH", "prediction_ids");
  ExpectError(status({"a", "b", "c"}, 2), "SHAPE_MISMATCH", "prediction_ids");
  ExpectError(status({"a", "b", "a"}, 3), "SHAPE_MISMATCH", "prediction_ids[2]");
  ExpectError(status({"a", ""}, 2), "LIMIT_EXCEEDED", "prediction_ids[1]");
  ExpectError(status({std::string(129, 'x'), "a"}, 2), "LIMIT_EXCEEDED", "prediction_ids[0]");
}

TEST(EvaluateRequestTest, BecomesABatch) {
  const auto proto =
      Parse<v1::EvaluateRequest>(std::string(kTrain) + "sample_weights: 1 sample_weights: 0.5");
  const auto batch = ToBatch(proto, {});
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->rows(), 2);
  EXPECT_EQ(batch->weight(1), 0.5);
  ExpectError(ToBatch({}, {}).status(), "EMPTY_BATCH", "features");
}

TEST(TensorTest, ComesBackAsItIs) {
  const std::vector<StateTensor> tensors = {{"0.weight", {2, 2}, {1, -2, 3.5f, 1e-30f}, {}},
                                            {"1.num_batches_tracked", {}, {}, {int64_t{1} << 40}},
                                            {"empty", {0}, {}, {}}};
  v1::CreateModelRequest request;
  ToProto(tensors, request.mutable_initial_state());
  ASSERT_EQ(request.initial_state_size(), 3);
  const std::vector<StateTensor> back = FromProto(request.initial_state());
  ASSERT_EQ(back.size(), 3u);
  for (size_t i = 0; i < back.size(); ++i) {
    EXPECT_EQ(back[i].name, tensors[i].name);
    EXPECT_EQ(back[i].shape, tensors[i].shape);
    EXPECT_EQ(back[i].values, tensors[i].values);
    EXPECT_EQ(back[i].int64_values, tensors[i].int64_values);
  }
}

TEST(AnswerTest, AStepsResultIsWrittenWhole) {
  v1::TrainResponse proto;
  ToProto({.step = 3, .loss = 1.5, .prequential_loss = 2.5, .replayed = true}, &proto);
  EXPECT_EQ(proto.ShortDebugString(), "step: 3 loss: 1.5 prequential_loss: 2.5 replayed: true");
}

TEST(AnswerTest, ScoresThatAreNotDefinedAreAbsent) {
  v1::EvaluateResponse proto;
  ToProto(Scores{.rows = 2, .loss = 0.5, .r2 = 0.0}, 7, &proto);
  EXPECT_EQ(proto.ShortDebugString(), "rows: 2 step: 7 loss: 0.5 r2: 0");
  ToProto(Scores{.rows = 2,
                 .loss = 0.5,
                 .mean_absolute_error = 1,
                 .root_mean_squared_error = 2,
                 .r2 = 3,
                 .accuracy = 4,
                 .log_loss = 5,
                 .roc_auc = 6},
          7, &proto);
  EXPECT_EQ(proto.ShortDebugString(),
            "rows: 2 step: 7 loss: 0.5 mean_absolute_error: 1 root_mean_squared_error: 2 r2: 3 "
            "accuracy: 4 log_loss: 5 roc_auc: 6");
}

TEST(AnswerTest, AMatrixIsFilledInsideTheMessage) {
  v1::Matrix proto;
  const MatrixView view = MutableMatrix(2, 3, &proto);
  view(1, 2) = 5;
  EXPECT_EQ(proto.rows(), 2);
  EXPECT_EQ(proto.columns(), 3);
  ASSERT_EQ(proto.values_size(), 6);
  EXPECT_EQ(proto.values(5), 5);
}

}  // namespace
}  // namespace lazynorm
