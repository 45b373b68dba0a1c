#include "client/cli/data_flags.h"

#include "client/cli/errors.h"
#include "client/cli/session.h"
#include "client/cli/survey.h"

namespace lazynorm {

void AddColumnOptions(CLI::App* command, ColumnOptions* columns, bool with_targets) {
  AddListOption(command, "--target", &columns->targets, "What is to be predicted", "COLUMN,..");
  AddListOption(command, "--ignore", &columns->ignore, "Columns to leave out", "COLUMN,..");
  AddListOption(command, "--one-hot", &columns->one_hot,
                "Columns of categories: each becomes COLUMN=value columns of 0 and 1", "COLUMN,..");
  command
      ->add_option("--date", columns->date,
                   "A column YYYY-MM-DD[ HH:MM[:SS]]: becomes COLUMN_sin and COLUMN_cos of the "
                   "time of the year")
      ->type_name("COLUMN");
  if (!with_targets) return;
  command->add_option("--weight", columns->weight, "The weights of the rows")->type_name("COLUMN");
  command
      ->add_option("--ahead", columns->ahead,
                   "The target is the target column's value N rows later; its own value is a "
                   "feature, and the last N rows are left out")
      ->type_name("N")
      ->check(AtLeast(0));
}

absl::StatusOr<ExampleReader> OpenExamples(const std::string& path, const ColumnOptions& columns,
                                           const v1::Model& model) {
  Categories categories;
  if (model.spec().feature_names_size() > 0) {
    for (const std::string& column : columns.one_hot) {
      categories[column] = CategoriesIn(model, column);
    }
  } else if (!columns.one_hot.empty()) {
    const absl::StatusOr<Survey> survey = SurveyTable(path, columns, /*with_targets=*/false);
    if (!survey.ok()) return survey.status();
    categories = survey->categories;
  }
  return ExampleReader::Open(path, columns, categories, model);
}

absl::Status NeedTarget(const ColumnOptions& columns) {
  if (!columns.targets.empty()) return absl::OkStatus();
  return InputError("--target COLUMN is required: which column is to be predicted?");
}

}  // namespace lazynorm
