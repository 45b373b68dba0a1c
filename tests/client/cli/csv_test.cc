#include "client/cli/csv.h"

#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lazynorm {
namespace {

using ::testing::ElementsAre;

// All rows of `text`, or the error's message as the only cell of the last row.
std::vector<CsvRow> ReadAll(const std::string& text) {
  std::istringstream stream(text);
  auto reader = CsvReader::FromStream(&stream, "t.csv");
  if (!reader.ok()) return {{std::string(reader.status().message())}};
  std::vector<CsvRow> rows;
  CsvRow row;
  for (;;) {
    const auto found = reader->Next(&row);
    if (!found.ok()) rows.push_back({std::string(found.status().message())});
    if (!found.ok() || !*found) return rows;
    rows.push_back(row);
  }
}

TEST(CsvTest, TheFirstRowIsTheHeader) {
  std::istringstream stream("a,b\n1,2\n");
  EXPECT_THAT(CsvReader::FromStream(&stream, "t.csv")->header(), ElementsAre("a", "b"));
}

TEST(CsvTest, QuotedFieldsMayHoldCommasAndNewlinesAndQuotes) {
  EXPECT_THAT(ReadAll("a,b\n\"x,y\",\"1\n2\"\n\"say \"\"hi\"\"\",\n"),
              ElementsAre(ElementsAre("x,y", "1\n2"), ElementsAre("say \"hi\"", "")));
}

TEST(CsvTest, LinesMayEndInCrlfAndTheLastInNothing) {
  EXPECT_THAT(ReadAll("a,b\r\n1,\"2\"\r\n3,4"),
              ElementsAre(ElementsAre("1", "2"), ElementsAre("3", "4")));
}

TEST(CsvTest, EmptyCellsAreCellsAndBlankLinesAreNot) {
  EXPECT_THAT(ReadAll("a,b\n\n,\n\r\n1,\n"),
              ElementsAre(ElementsAre("", ""), ElementsAre("1", "")));
}

TEST(CsvTest, AByteOrderMarkIsNotPartOfTheFirstName) {
  std::istringstream stream(
      "\xEF\xBB\xBF"
      "a,b\n");
  EXPECT_THAT(CsvReader::FromStream(&stream, "t.csv")->header(), ElementsAre("a", "b"));
}

TEST(CsvTest, ErrorsNameFileAndLine) {
  EXPECT_THAT(ReadAll("a,b\n1,2\n1,2,3\n").back(),
              ElementsAre("t.csv:3: expected 2 columns, got 3"));
  EXPECT_THAT(ReadAll("a,b\n\"1\n2\",3\n\"4,5\n").back(),
              ElementsAre("t.csv:4: a quote is opened and never closed"));
  EXPECT_THAT(ReadAll("a\n\"1\"2\n").back(),
              ElementsAre("t.csv:2: expected a comma after a closing quote"));
}

TEST(CsvTest, AHeaderIsRequiredAndItsNamesDiffer) {
  EXPECT_THAT(ReadAll("").back(), ElementsAre("t.csv: empty; expected a header line"));
  EXPECT_THAT(ReadAll("a,a\n").back(),
              ElementsAre("t.csv:1: column a appears twice in the header"));
}

TEST(CsvTest, AFileThatIsNotThereSaysSo) {
  EXPECT_EQ(CsvReader::Open("/nowhere/t.csv").status().message(),
            "/nowhere/t.csv: No such file or directory");
}

TEST(CsvTest, WhatIsWrittenReadsTheSame) {
  const CsvRow row = {"plain", "a,b", "say \"hi\"", "two\nlines", ""};
  EXPECT_THAT(ReadAll("a,b,c,d,e\n" + ToCsvLine(row)), ElementsAre(row));
  EXPECT_THAT(ReadAll("a\n" + ToCsvLine({""})), ElementsAre(CsvRow{""}));
}

}  // namespace
}  // namespace lazynorm
