#include "client/cli/format.h"

#include <cmath>
#include <sstream>

#include "client/cli/progress.h"
#include "gtest/gtest.h"

namespace lazynorm {
namespace {

TEST(FormatTest, JsonKeepsOrderAndQuotes) {
  JsonObject json;
  json.Text("b", "say \"hi\"\n").Number("a", 0.1).Integer("n", 7).Number("bad", NAN);
  EXPECT_EQ(json.ToString(), R"({"b": "say \"hi\"\u000a", "a": 0.1, "n": 7, "bad": null})");
}

TEST(FormatTest, TablesAlignNumbersRightAndTextLeft) {
  std::ostringstream out;
  WriteTable({"name", "rows"}, {{"a", "5"}, {"long-name", "1000"}}, Format::kTable, &out);
  EXPECT_EQ(out.str(), "name       rows\na             5\nlong-name  1000\n");
}

TEST(FormatTest, JsonRowsHaveNumbersWhereTheCellsHave) {
  std::ostringstream out;
  RowWriter(&out, Format::kJson, {"x", "class"}).Write({"1.50", "rain"});
  EXPECT_EQ(out.str(), "{\"x\": 1.5, \"class\": \"rain\"}\n");
}

TEST(FormatTest, CsvRowsFollowTheirHeader) {
  std::ostringstream out;
  RowWriter(&out, Format::kCsv, {"x", "y"}).Write({"1", "a,b"});
  EXPECT_EQ(out.str(), "x,y\n1,\"a,b\"\n");
}

TEST(FormatTest, FloatsReadBackTheSame) {
  EXPECT_EQ(FormatFloat(0.1f), "0.1");
  EXPECT_EQ(std::stof(FormatFloat(1.0f / 3)), 1.0f / 3);
}

TEST(FormatTest, SparklinesRunFromTheLowestToTheHighest) {
  EXPECT_EQ(Sparkline({1, 2, 3}, 10), "▁▅█");
  EXPECT_EQ(Sparkline({5, 5}, 10), "▁▁");
  EXPECT_EQ(Sparkline({0, 0, 8, 8}, 2), "▁█");
  EXPECT_EQ(Sparkline({1, NAN, 2}, 10), "▁ █");
  EXPECT_EQ(Sparkline({}, 10), "");
}

TEST(FormatTest, ProgressHasABarOnlyWhereTheEndIsKnown) {
  EXPECT_EQ(ProgressLine(0.5, 100, 50, 0.25),
            "[===============>              ]  50 %  100 rows  50 rows/s  prequential loss 0.25");
  EXPECT_EQ(ProgressLine(-1, 100, 50, 0.25), "100 rows  50 rows/s  prequential loss 0.25");
}

}  // namespace
}  // namespace lazynorm
