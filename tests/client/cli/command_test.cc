// The commands but train, as processes.
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/client/cli/command_fixture.h"

namespace lazynorm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// Exit codes and sentences.

TEST_F(CommandTest, NoServerIsToldWithTheWayOutAndCode3) {
  server_.Stop();
  const Outcome outcome = Run("list");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_EQ(outcome.err,
            "error: no server at " + server_.address() + "; start one with lazynormd\n");
}

TEST_F(CommandTest, TheServerCanBeGivenByOptionAlsoAfterTheCommand) {
  const Outcome outcome = Run("list --server 127.0.0.1:1");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("127.0.0.1:1;"));
}

TEST_F(CommandTest, AnUnknownModelIsCode4) {
  const Outcome outcome = Run("get nobody");
  EXPECT_EQ(outcome.code, 4);
  EXPECT_EQ(outcome.err, "error: model: no model \"nobody\" (NOT_FOUND, MODEL_NOT_FOUND)\n");
}

TEST_F(CommandTest, ARefusalIsCode1WithCodeAndReason) {
  server_.AddModel("m").set_in_features(8);
  const Outcome outcome = Run("predict m " + File("t.csv", "a,b,c,d,e,f,g\n1,2,3,4,5,6,7\n"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err,
            "error: features: expected 8 columns, got 7 (INVALID_ARGUMENT, WIDTH_MISMATCH)\n");
}

TEST_F(CommandTest, WrongUsageIsCode2) {
  for (const char* line : {"", "fly", "get", "train m", "list --output xml", "train m f --batch 0",
                           "list --timeout soon", "update m"}) {
    EXPECT_EQ(Run(line).code, 2) << line;
  }
}

TEST_F(CommandTest, WrongUsageSaysWhatWasExpected) {
  EXPECT_EQ(Run("fly m").err, "error: no command \"fly\"; see lazynorm --help\n");
  EXPECT_EQ(Run("list --output xml").err,
            "error: --output: expected table, json or csv, got xml; see lazynorm --help\n");
  EXPECT_EQ(Run("get m -o csv").err,
            "error: --output: expected table or json, got csv; see lazynorm --help\n");
  for (const char* number : {"0", "-3", "1.5", "many"}) {
    EXPECT_THAT(
        Run(std::string("train m f --target y --batch ") + number).err,
        HasSubstr(std::string("--batch: expected a whole number of at least 1, got ") + number));
  }
}

TEST_F(CommandTest, HelpIsCode0AndHasExamples) {
  for (const char* command : {"create", "train", "predict", "evaluate", "get", "list", "delete",
                              "update", "freeze", "unfreeze", "state", "watch", "health"}) {
    const Outcome outcome = Run(std::string(command) + " --help");
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_THAT(outcome.out, HasSubstr(std::string("  lazynorm ") + command)) << command;
  }
  EXPECT_THAT(Run("--help").out, HasSubstr("Exit codes: 0 ok;"));
}

TEST_F(CommandTest, ABadCellIsCode2WithItsPlace) {
  server_.AddModel("m");
  const std::string file = File("weather.csv", "wind,y\n1,2\nn/a,3\n");
  const Outcome outcome = Run("train m " + file + " --target y");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "error: " + file + ":3: column wind: \"n/a\" is not a number\n");
}

TEST_F(CommandTest, AMissingFileIsCode2) {
  server_.AddModel("m");
  const Outcome outcome = Run("train m /nowhere.csv --target y");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "error: /nowhere.csv: No such file or directory\n");
}

// Health.

TEST_F(CommandTest, HealthIsCode0OnlyWhenServing) {
  EXPECT_EQ(Run("health").code, 0);
  EXPECT_EQ(Run("health --service readiness").out, "SERVING\n");
  EXPECT_EQ(Run("health --service nobody").code, 4);
  state().health = grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  const Outcome outcome = Run("health");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_EQ(outcome.out, "NOT_SERVING\n");
}

// Models.

TEST_F(CommandTest, CreateSendsWhatTheFlagsSay) {
  const Outcome outcome =
      Run("create m --preset torch --hidden 64,32 --outputs 2 --activation gelu --loss huber "
          "--optimizer sgd "
          "--lr 0.01 --momentum 0.9 --weight-decay 0.1 --normalize-input --dropout 0.1 "
          "--clip-grad-norm 5 --seed 7 --in-features 2 --feature-names a,b");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const v1::ModelSpec& spec = state().models["m"].spec();
  EXPECT_THAT(spec.mlp().hidden(), ElementsAre(64, 32));
  EXPECT_EQ(spec.mlp().out_features(), 2);
  EXPECT_EQ(spec.mlp().activation(), v1::ACTIVATION_KIND_GELU);
  EXPECT_TRUE(spec.mlp().normalize_input());
  EXPECT_EQ(spec.mlp().dropout(), 0.1);
  EXPECT_EQ(spec.loss().kind(), v1::LOSS_KIND_HUBER);
  EXPECT_EQ(spec.optimizer().sgd().lr(), 0.01);
  EXPECT_EQ(spec.optimizer().sgd().momentum(), 0.9);
  EXPECT_EQ(spec.optimizer().sgd().weight_decay(), 0.1);
  EXPECT_EQ(spec.learning().clip_grad_norm(), 5);
  EXPECT_EQ(spec.seed(), 7u);
  EXPECT_EQ(spec.in_features(), 2);
  EXPECT_THAT(spec.feature_names(), ElementsAre("a", "b"));
}

TEST_F(CommandTest, CreateLeavesOpenWhatIsNotSaid) {
  ASSERT_EQ(Run("create m --preset torch --hidden 8").code, 0);
  const v1::ModelSpec& spec = state().models["m"].spec();
  EXPECT_FALSE(spec.optimizer().adam().has_lr());
  EXPECT_FALSE(spec.has_loss());
  EXPECT_EQ(spec.in_features(), 0);
  EXPECT_EQ(Run("create m --preset torch --hidden 8").code, 1);
}

TEST_F(CommandTest, CreateReadsASpecFromAFile) {
  const std::string text = File("s.textproto", "mlp { hidden: 5 } seed: 3");
  ASSERT_EQ(Run("create a --spec " + text).code, 0);
  EXPECT_THAT(state().models["a"].spec().mlp().hidden(), ElementsAre(5));
  ASSERT_EQ(Run("create b --spec " + File("s.json", R"({"mlp": {"out_features": 4}})")).code, 0);
  EXPECT_EQ(state().models["b"].spec().mlp().out_features(), 4);
  const Outcome bad = Run("create c --spec " + File("bad.textproto", "mlp {\n hiden: 5 }"));
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.err, HasSubstr("bad.textproto:2:"));
  EXPECT_EQ(Run("create d --seed 3 --spec " + text).code, 2);
}

TEST_F(CommandTest, CreateLikeATableNamesFeaturesAndClasses) {
  const std::string file =
      File("t.csv", "day,x,kind,y\n2024-01-01,1,b,sun\n2024-01-02,2,a,rain\n2024-01-03,3,b,sun\n");
  const Outcome outcome = Run("create m --preset torch --hidden 4 --loss cross_entropy --like " +
                              file + " --target y --one-hot kind --date day");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const v1::ModelSpec& spec = state().models["m"].spec();
  EXPECT_THAT(spec.feature_names(), ElementsAre("day_sin", "day_cos", "x", "kind=b", "kind=a"));
  EXPECT_THAT(spec.class_names(), ElementsAre("sun", "rain"));
  EXPECT_EQ(spec.mlp().out_features(), 2);
  EXPECT_EQ(spec.in_features(), 0);
}

TEST_F(CommandTest, ClassesThatAreNumbersKeepTheirNumbers) {
  const std::string file = File("t.csv", "x,y\n1,2\n1,0\n");
  ASSERT_EQ(Run("create m --preset torch --loss cross_entropy --target y --like " + file).code, 0);
  EXPECT_THAT(state().models["m"].spec().class_names(), IsEmpty());
  EXPECT_EQ(state().models["m"].spec().mlp().out_features(), 3);
}

TEST_F(CommandTest, TargetsThatAreTextAreClassesUnlessALossIsGiven) {
  const std::string text = File("text.csv", "x,y\n1,sun\n2,rain\n3,sun\n");
  ASSERT_EQ(Run("create a --target y --like " + text).code, 0);
  EXPECT_EQ(state().models["a"].spec().loss().kind(), v1::LOSS_KIND_CROSS_ENTROPY);
  EXPECT_THAT(state().models["a"].spec().class_names(), ElementsAre("sun", "rain"));
  EXPECT_FALSE(state().models["a"].spec().learning().normalize_targets());
  EXPECT_EQ(Run("train b --create " + text + " --target y").code, 0);
  EXPECT_EQ(state().models["b"].spec().loss().kind(), v1::LOSS_KIND_CROSS_ENTROPY);
  ASSERT_EQ(Run("create c --loss l1 --target y --like " + text).code, 0);
  EXPECT_EQ(state().models["c"].spec().loss().kind(), v1::LOSS_KIND_L1);
  for (const char* rows : {"1,n/a\n2,1\n", "1,1\n2,n/a\n", ""}) {  // not a text, or nothing to tell
    const std::string file = File("numbers.csv", absl::StrCat("x,y\n", rows));
    ASSERT_EQ(Run("create d --target y --like " + file).code, 0);
    EXPECT_EQ(state().models["d"].spec().loss().kind(), v1::LOSS_KIND_UNSPECIFIED);
    ASSERT_EQ(Run("delete d").code, 0);
  }
}

TEST_F(CommandTest, MomentumNeedsAnOptimizerThatHasOne) {
  const Outcome outcome = Run("create m --momentum 0.9");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--optimizer sgd"));
}

TEST_F(CommandTest, ListShowsAllPagesAsTableJsonAndCsv) {
  for (const char* id : {"a", "b", "c"}) server_.AddModel(id);
  EXPECT_THAT(Run("list").out, HasSubstr("\nb "));
  EXPECT_THAT(Run("list --output csv").out, StartsWith("model,state,step,rows,"));
  std::istringstream lines(Run("list --output json").out);
  std::vector<std::string> ids;
  for (std::string line; std::getline(lines, line);) {
    ids.push_back(ParseJson(line).fields().at("model_id").string_value());
  }
  EXPECT_THAT(ids, ElementsAre("a", "b", "c"));
}

TEST_F(CommandTest, GetFreezeUpdateAndDeleteActOnTheModel) {
  server_.AddModel("m");
  server_.AddModel("n");
  EXPECT_EQ(ParseJson(Run("get m --output json").out).fields().at("model_id").string_value(), "m");
  EXPECT_THAT(Run("freeze m").out, HasSubstr("frozen"));
  EXPECT_TRUE(state().models["m"].statistics_frozen());
  EXPECT_EQ(Run("unfreeze m").code, 0);
  EXPECT_FALSE(state().models["m"].statistics_frozen());
  EXPECT_EQ(Run("update m --lr 0.5").code, 0);
  EXPECT_EQ(state().updated.learning_rate(), 0.5);
  EXPECT_THAT(state().updated.update_mask().paths(), ElementsAre("learning_rate"));
  EXPECT_EQ(Run("delete m n").out, "deleted m\ndeleted n\n");
  EXPECT_EQ(state().models.size(), 0u);
}

TEST_F(CommandTest, StateSummarizesTensorsAndJsonHasThemInFull) {
  server_.AddModel("m");
  const Outcome table = Run("state m --output csv");
  EXPECT_EQ(table.out,
            "tensor,shape,mean,min,max\n0.weight,\"[1, 2]\",1.5,-1,4\n"
            "1.num_batches_tracked,[],7,7,7\n");
  EXPECT_EQ(
      ParseJson(Run("state m --output json").out).fields().at("tensors").list_value().values_size(),
      2);
}

TEST_F(CommandTest, WatchStopsAfterItsCount) {
  server_.AddModel("m");
  const Outcome outcome = Run("watch m --count 2 --output json");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 2);
  EXPECT_EQ(Run("watch nobody").code, 4);
  EXPECT_EQ(Run("watch m --interval soon").code, 2);
}

// Prediction.

TEST_F(CommandTest, PredictPrintsCsvAndAppendsOnDemand) {
  server_.AddModel("m");
  const std::string file = File("t.csv", "a,b,y\n1,2,9\n3,4,8\n");
  EXPECT_EQ(Run("predict m " + file + " --target y --output csv").out, "prediction\n3\n7\n");
  EXPECT_EQ(Run("predict m " + file + " --ignore y --append --output csv").out,
            "a,b,y,prediction\n1,2,9,3\n3,4,8,7\n");
}

TEST_F(CommandTest, PredictDoesNotNeedTheTargetColumn) {
  server_.AddModel("m", {"a", "b"});
  const Outcome outcome = Run("predict m - --target y --output json", "printf 'b,a\\n1,2\\n' |");
  EXPECT_EQ(outcome.out, "{\"prediction\": 3}\n") << outcome.err;
  EXPECT_THAT(state().predicted[0].features().values(), ElementsAre(2, 1));
}

TEST_F(CommandTest, PredictNamesTheLikeliestClassAndEachOnesValue) {
  v1::Model& model = server_.AddModel("m");
  model.mutable_spec()->mutable_loss()->set_kind(v1::LOSS_KIND_CROSS_ENTROPY);
  for (const char* name : {"sun", "rain"}) model.mutable_spec()->add_class_names(name);
  model.set_out_features(2);
  EXPECT_EQ(Run("predict m " + File("t.csv", "x\n1\n") + " --probabilities --output csv").out,
            "prediction,prediction_sun,prediction_rain\nrain,1,2\n");
  EXPECT_EQ(state().predicted[0].output(), v1::OUTPUT_PROBABILITIES);
}

TEST_F(CommandTest, PredictKeepsTheOrderOverManyBatches) {
  server_.AddModel("m");
  std::string text = "x\n", expected = "prediction\n";
  for (int i = 0; i < 1000; ++i) {
    text += std::to_string(i) + "\n";
    expected += std::to_string(i) + "\n";
  }
  EXPECT_EQ(Run("predict m " + File("t.csv", text) + " --batch 7 --output csv").out, expected);
}

TEST_F(CommandTest, PredictRemembersUnderTheIdsOfAColumn) {
  server_.AddModel("m");
  const Outcome outcome = Run("predict m - --remember order --batch 2 --output csv",
                              "printf 'a,order,b\\n1,x,2\\n3,y,4\\n5,z,6\\n7,,8\\n' | head -n 4 |");
  EXPECT_EQ(outcome.out, "prediction\n3\n7\n11\n") << outcome.err;
  ASSERT_EQ(state().predicted.size(), 1u);  // a last single row joins the batch before it
  EXPECT_THAT(state().predicted[0].prediction_ids(), ElementsAre("x", "y", "z"));
  EXPECT_THAT(state().predicted[0].features().values(), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(CommandTest, AnEmptyIdIsCode2WithItsPlace) {
  server_.AddModel("m");
  const Outcome outcome =
      Run("predict m " + File("t.csv", "a,order\n1,x\n2,\n") + " --remember order");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("t.csv:3: column order: an id is empty"));
}

TEST_F(CommandTest, EvaluatePrintsTheScoresThatArePresent) {
  server_.AddModel("m");
  const std::string file = File("t.csv", "a,y\n1,2\n3,4\n5,6\n");
  const Outcome table = Run("evaluate m " + file + " --target y --batch 2");
  EXPECT_THAT(table.out, HasSubstr("root mean squared error  0.5"));
  EXPECT_THAT(table.out, Not(HasSubstr("accuracy")));
  const auto json = ParseJson(Run("evaluate m " + file + " --target y --output json").out);
  EXPECT_EQ(NumberIn(json, "loss"), 0.25);
  EXPECT_EQ(json.fields().count("accuracy"), 0u);
}

}  // namespace
}  // namespace lazynorm
