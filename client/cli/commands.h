#ifndef LAZYNORM_CLIENT_CLI_COMMANDS_H_
#define LAZYNORM_CLIENT_CLI_COMMANDS_H_

#include "client/cli/session.h"

namespace lazynorm {

// Each adds one command to `app`. `session` must outlive `app`.
void AddCreate(CLI::App& app, Session& session);
void AddTrain(CLI::App& app, Session& session);
void AddPredict(CLI::App& app, Session& session);
void AddEvaluate(CLI::App& app, Session& session);
void AddGet(CLI::App& app, Session& session);
void AddList(CLI::App& app, Session& session);
void AddDelete(CLI::App& app, Session& session);
void AddUpdate(CLI::App& app, Session& session);
void AddCopy(CLI::App& app, Session& session);
void AddCompare(CLI::App& app, Session& session);
void AddCheckpoint(CLI::App& app, Session& session);
void AddRestore(CLI::App& app, Session& session);
void AddBackup(CLI::App& app, Session& session);
void AddMigrate(CLI::App& app, Session& session);
void AddExport(CLI::App& app, Session& session);
void AddImport(CLI::App& app, Session& session);
void AddFreeze(CLI::App& app, Session& session);
void AddUnfreeze(CLI::App& app, Session& session);
void AddState(CLI::App& app, Session& session);
void AddWatch(CLI::App& app, Session& session);
void AddHealth(CLI::App& app, Session& session);
void AddToken(CLI::App& app, Session& session);

}  // namespace lazynorm

#endif  // LAZYNORM_CLIENT_CLI_COMMANDS_H_
