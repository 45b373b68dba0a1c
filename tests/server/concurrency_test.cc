// Many callers at once, over sockets of their own.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/learner.h"
#include "server/convert/api.h"
#include "server/convert/spec.h"
#include "tests/support/server_fixture.h"

namespace lazynorm {
namespace {

using grpc::StatusCode;

constexpr char kSpec[] = "mlp { hidden: 6 normalize_input: true } seed: 11";

class ConcurrencyTest : public ServerFixture {
 protected:
  // Runs `work(i, connection)` on that many threads, each with a connection of its own.
  void OnThreads(int threads, const std::function<void(int, Connection&)>& work) {
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i) {
      running.emplace_back([&, i] {
        Connection connection(port());
        work(i, connection);
      });
    }
    for (std::thread& thread : running) thread.join();
  }
};

// What a model predicts for `query` after each of its steps, found by a learner of our own.
std::vector<Matrix> PredictionsOfEachStep(int steps, const v1::PredictRequest& query) {
  auto learner = Learner::Create(*FromProto(Parse<v1::ModelSpec>(kSpec)), Limits());
  const ConstMatrixView x = *ToMatrix(query.features(), "features", {});
  EXPECT_TRUE((*learner)->Apply(ResolveCommand{query.features().columns()}).ok());
  std::vector<Matrix> predictions = {*(*learner)->MakePlan()->Predict(x)};
  for (int i = 0; i < steps; ++i) {
    const v1::TrainRequest request = RandomStep("m", 8, 5, i);
    EXPECT_TRUE((*learner)->Apply(*ToCommand(request, {})).ok());
    predictions.push_back(*(*learner)->MakePlan()->Predict(x));
  }
  return predictions;
}

TEST_F(ConcurrencyTest, ReadersBesideATrainerSeeWholeStepsInOrder) {
  constexpr int kSteps = 300;
  const v1::PredictRequest query = RandomQuery("m", 4, 5, 77);
  const std::vector<Matrix> expected = PredictionsOfEachStep(kSteps, query);
  ASSERT_TRUE(client().Create("m", absl::StrCat(kSpec, " in_features: 5")).ok());
  std::atomic<bool> trained = false;
  std::atomic<int> read = 0;
  OnThreads(5, [&](int i, Connection& connection) {
    if (i == 0) {
      for (int k = 0; k < kSteps; ++k) {
        const auto answer = connection.Train(RandomStep("m", 8, 5, k));
        EXPECT_TRUE(answer.ok()) << answer.error();
        if (k == kSteps / 2) {
          EXPECT_TRUE(Soon([&] { return read > 4; })) << "none is beside it";
        }
      }
      trained = true;
      return;
    }
    int64_t latest = 0;
    for (bool last = false; !last; ++read) {
      last = trained;
      const auto answer = connection.Predict(query);
      ASSERT_TRUE(answer.ok()) << answer.error();
      ASSERT_GE(answer->step(), latest);
      latest = answer->step();
      const Matrix& y = expected[latest];
      ASSERT_EQ(std::memcmp(answer->predictions().values().data(), y.data(), 4 * sizeof(float)), 0)
          << "step " << latest;
    }
    EXPECT_EQ(latest, kSteps);
  });
}

TEST_F(ConcurrencyTest, WhatIsAnsweredIsSeenFromEveryConnection) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  Connection reader(port());
  const v1::PredictRequest query = RandomQuery("m", 1, 5, 1);
  for (int i = 1; i <= 100; ++i) {
    ASSERT_EQ(client().Train(RandomStep("m", 8, 5, i))->step(), i);
    ASSERT_EQ(reader.Predict(query)->step(), i);
    ASSERT_EQ(reader.Get("m")->step(), i);
  }
}

TEST_F(ConcurrencyTest, OfTwoWidthsThatRaceForALazyModelOneWins) {
  for (int round = 0; round < 10; ++round) {
    const std::string id = absl::StrCat("m", round);
    ASSERT_TRUE(client().Create(id, kSpec).ok());
    std::vector<ErrorDetails> errors(16);
    OnThreads(16, [&](int i, Connection& connection) {
      const int width = i % 2 == 0 ? 3 : 4;
      const v1::TrainRequest rows = RandomStep(id, 4, width, i);
      if (i % 3 == 0) errors[i] = connection.Train(rows).error();
      if (i % 3 == 1) errors[i] = connection.Predict(RandomQuery(id, 4, width, i)).error();
      if (i % 3 == 2) errors[i] = connection.Evaluate(AsEvaluation(rows)).error();
    });
    const int won = client().Get(id)->in_features();
    ASSERT_TRUE(won == 3 || won == 4) << won;
    for (int i = 0; i < 16; ++i) {
      const int width = i % 2 == 0 ? 3 : 4;
      if (width == won) {
        EXPECT_EQ(errors[i].code, StatusCode::OK) << errors[i];
      } else {
        EXPECT_EQ(errors[i], Invalid("WIDTH_MISMATCH", "features"));
        EXPECT_EQ(errors[i].message,
                  absl::StrCat("features: expected ", won, " columns, got ", width));
      }
    }
  }
}

TEST_F(ConcurrencyTest, AModelIsDeletedAndMadeAnewUnderTraffic) {
  std::atomic<bool> stop = false;
  OnThreads(5, [&](int i, Connection& connection) {
    if (i == 0) {
      for (int round = 0; round < 40; ++round) {
        EXPECT_TRUE(connection.Create("m", kSpec).ok());
        EXPECT_TRUE(connection.Train(RandomStep("m", 8, 5, round)).ok());
        EXPECT_TRUE(connection.Delete("m").ok());
      }
      stop = true;
      return;
    }
    for (int k = 0; !stop; ++k) {
      const grpc::Status status = i % 2 == 0 ? connection.Train(RandomStep("m", 8, 5, k)).status
                                             : connection.Predict(RandomQuery("m", 2, 5, k)).status;
      if (!status.ok()) {
        EXPECT_EQ(DetailsOf(status), Error(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND"));
      }
    }
  });
  EXPECT_FALSE(absl::StrContains(HttpGet("/metrics"), "model=\"m\""));
  EXPECT_EQ(Metric("lazynorm_models"), "0");
}

TEST_F(ConcurrencyTest, ManyModelsLearnAtOnceEachAsIfAlone) {
  constexpr int kModels = 8, kSteps = 30;
  const v1::PredictRequest any = RandomQuery("m", 3, 5, 7);
  const Matrix expected = PredictionsOfEachStep(kSteps, any).back();
  OnThreads(4, [&](int i, Connection& connection) {
    for (const int m : {i, i + 4}) {
      ASSERT_TRUE(connection.Create(absl::StrCat("m", m), kSpec).ok());
    }
    for (int k = 0; k < kSteps; ++k) {
      for (const int m : {i, i + 4}) {
        ASSERT_TRUE(connection.Train(RandomStep(absl::StrCat("m", m), 8, 5, k)).ok());
      }
    }
  });
  for (int m = 0; m < kModels; ++m) {
    v1::PredictRequest query = any;
    query.set_model(absl::StrCat("m", m));
    const auto answer = client().Predict(query);
    EXPECT_EQ(answer->step(), kSteps);
    EXPECT_EQ(
        std::memcmp(answer->predictions().values().data(), expected.data(), 3 * sizeof(float)), 0);
  }
}

TEST_F(ConcurrencyTest, OfCallersWithOneRequestIdOneTrains) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  for (int round = 0; round < 10; ++round) {
    v1::TrainRequest request = RandomStep("m", 8, 5, round);
    request.set_request_id(absl::StrCat("round-", round));
    std::atomic<int> first = 0;
    OnThreads(6, [&](int, Connection& connection) {
      const auto answer = connection.Train(request);
      ASSERT_TRUE(answer.ok()) << answer.error();
      EXPECT_EQ(answer->step(), round + 1);
      first += answer->replayed() ? 0 : 1;
    });
    EXPECT_EQ(first, 1);
  }
}

TEST_F(ConcurrencyTest, StreamsThatTheirCallersCutOffHarmNobody) {
  ASSERT_TRUE(client().Create("m", kSpec).ok());
  OnThreads(4, [&](int i, Connection& connection) {
    for (int round = 0; round < 15; ++round) {
      grpc::ClientContext train_context, predict_context, evaluate_context, watch_context;
      auto training = connection.training->TrainStream(&train_context);
      auto predicting = connection.prediction->PredictStream(&predict_context);
      v1::EvaluateResponse scores;
      auto evaluating = connection.prediction->EvaluateStream(&evaluate_context, &scores);
      v1::WatchModelRequest watch;
      watch.set_model("m");
      auto watching = connection.models->WatchModel(&watch_context, watch);
      for (int k = 0; k < (i + round) % 5 + 1; ++k) {
        training->Write(RandomStep("m", 8, 5, k));
        predicting->Write(RandomQuery("m", 8, 5, k));
        evaluating->Write(AsEvaluation(RandomStep("m", 8, 5, k)));
      }
      v1::PredictRequest never = RandomQuery("m", 1, 5, 1);
      never.set_min_step(1'000'000);
      predicting->Write(never);
      for (grpc::ClientContext* context :
           {&train_context, &predict_context, &evaluate_context, &watch_context}) {
        context->TryCancel();
      }
    }
  });
  EXPECT_TRUE(client().Train(RandomStep("m", 8, 5, 1)).ok());
  // No stream is counted as open for ever.
  const auto metrics_of = [&](const std::string& what) {
    const std::string text = HttpGet("/metrics");
    int64_t sum = 0;
    for (size_t at = text.find("\n" + what); at != std::string::npos;
         at = text.find("\n" + what, at + 1)) {
      const size_t line = text.find('\n', at + 1);
      const std::string series = text.substr(at, line - at);
      if (absl::StrContains(series, "Stream\"") || absl::StrContains(series, "WatchModel")) {
        sum += std::stoll(series.substr(series.rfind(' ')));
      }
    }
    return sum;
  };
  EXPECT_TRUE(Soon([&] {
    return metrics_of("grpc_server_started_total") == metrics_of("grpc_server_handled_total");
  }));
}

}  // namespace
}  // namespace lazynorm
