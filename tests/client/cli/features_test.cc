#include "client/cli/features.h"

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lazynorm {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;

v1::Model ModelWith(const std::vector<std::string>& features) {
  v1::Model model;
  model.set_model_id("m");
  for (const std::string& name : features) model.mutable_spec()->add_feature_names(name);
  return model;
}

// A table in memory with one encoder for it.
struct Encoded {
  Encoded(const std::string& text, const ColumnOptions& options, const v1::Model& model = {},
          const Categories& categories = {})
      : stream(text), table(*CsvReader::FromStream(&stream, "t.csv")) {
    auto made = FeatureEncoder::Create(table, options, categories, model);
    error = std::string(made.status().message());
    if (!made.ok()) return;
    names = made->names();
    CsvRow row;
    while (*table.Next(&row)) {
      const absl::Status status = made->Encode(table, row, &values);
      if (!status.ok()) error = std::string(status.message());
    }
  }
  std::istringstream stream;
  CsvReader table;
  std::string error;
  std::vector<std::string> names;
  std::vector<float> values;
};

TEST(FeaturesTest, AllColumnsButTargetsWeightsAndIgnoredOnesAreFeatures) {
  const Encoded table("a,y,w,b,c\n1,2,3,4,5\n", {.targets = {"y"}, .ignore = {"c"}, .weight = "w"});
  EXPECT_THAT(table.names, ElementsAre("a", "b"));
  EXPECT_THAT(table.values, ElementsAre(1, 4));
}

TEST(FeaturesTest, WithAheadTheTargetColumnIsAFeatureToo) {
  EXPECT_THAT(Encoded("a,y\n1,2\n", {.targets = {"y"}, .ahead = 1}).values, ElementsAre(1, 2));
}

TEST(FeaturesTest, OneHotColumnsBecomeOneColumnACategory) {
  const Encoded table("a,kind\n1,sun\n2,rain\n3,hail\n", {.one_hot = {"kind"}}, {},
                      {{"kind", {"rain", "sun"}}});
  EXPECT_THAT(table.names, ElementsAre("a", "kind=rain", "kind=sun"));
  EXPECT_THAT(table.values, ElementsAre(1, 0, 1, 2, 1, 0, 3, 0, 0));
}

TEST(FeaturesTest, ADateBecomesSineAndCosineOfTheTimeOfYear) {
  const Encoded table("day\n2023-01-01\n2023-07-02 12:00\n", {.date = "day"});
  EXPECT_THAT(table.names, ElementsAre("day_sin", "day_cos"));
  EXPECT_THAT(table.values, ElementsAre(FloatNear(0, 1e-6), FloatNear(1, 1e-6), FloatNear(0, 1e-6),
                                        FloatNear(-1, 1e-6)));
}

TEST(FeaturesTest, TimeOfYearKnowsLeapYearsAndRefusesWhatIsNoDate) {
  EXPECT_DOUBLE_EQ(*TimeOfYear("2024-12-31"), 365.0 / 366);
  EXPECT_DOUBLE_EQ(*TimeOfYear("2023-01-02T00:00:00Z"), 1.0 / 365);
  for (const char* text : {"", "2023-02-30", "2023-1-1", "yesterday", "2023-01-01 25:00"}) {
    EXPECT_FALSE(TimeOfYear(text).ok()) << text;
  }
}

TEST(FeaturesTest, ColumnsAreFoundByNameInTheModelsOrder) {
  EXPECT_THAT(Encoded("a,b,c\n1,2,3\n", {}, ModelWith({"c", "a", "b"})).values,
              ElementsAre(3, 1, 2));
}

TEST(FeaturesTest, AMissingColumnIsNamed) {
  EXPECT_EQ(Encoded("a\n1\n", {}, ModelWith({"a", "b"})).error,
            "t.csv: no feature b, which model m needs");
}

TEST(FeaturesTest, ASurplusColumnIsNamedWithTheWayOut) {
  EXPECT_EQ(Encoded("a,b\n1,2\n", {}, ModelWith({"a"})).error,
            "t.csv: b is not a feature of model m; leave its column out with --ignore");
}

TEST(FeaturesTest, AnOptionForAColumnThatIsNotThereIsAnError) {
  EXPECT_THAT(Encoded("a,b\n", {.ignore = {"z"}}).error, HasSubstr("no column z; it has a, b"));
}

TEST(FeaturesTest, WhatIsNotANumberIsToldWithFileLineAndColumn) {
  EXPECT_EQ(Encoded("a,wind\n1,2\n1,n/a\n", {}).error,
            "t.csv:3: column wind: \"n/a\" is not a number");
  EXPECT_EQ(Encoded("a\nnan\n", {}).error, "t.csv:2: column a: \"nan\" is not a finite float");
  EXPECT_EQ(Encoded("a\n1e99\n", {}).error, "t.csv:2: column a: \"1e99\" is not a finite float");
}

TEST(FeaturesTest, CategoriesComeFromTheModelsFeatureNames) {
  EXPECT_THAT(CategoriesIn(ModelWith({"x", "k=b", "k=a", "kk=c"}), "k"), ElementsAre("b", "a"));
}

}  // namespace
}  // namespace lazynorm
