// Prints lazynorm.json, the Grafana dashboard. Made with Grafana's own builders, so that the compiler
// checks what Grafana would otherwise leave out in silence. tests/deploy/node makes it anew and compares.
import {
  DashboardBuilder,
  DashboardCursorSync,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { BigValueTextMode, LegendDisplayMode, LegendPlacement, TooltipDisplayMode, VizLegendOptionsBuilder, VizTooltipOptionsBuilder } from '@grafana/grafana-foundation-sdk/common';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as Timeseries } from '@grafana/grafana-foundation-sdk/timeseries';

type Line = [expression: string, legend: string];

const source = { type: 'prometheus', uid: '${datasource}' };
const server = 'job="$job"';
const model = 'job="$job",model=~"$model"';
const rate = '$__rate_interval';

const query = ([expression, legend]: Line, index = 0) =>
  new DataqueryBuilder().refId('ABCDEF'[index]).expr(expression).legendFormat(legend);

// A panel of lines; `wide` of 24 columns.
function lines(title: string, description: string, unit: string, wide: number, ...of: Line[]): Timeseries {
  const panel = new Timeseries()
    .title(title)
    .description(description)
    .unit(unit)
    .datasource(source)
    .span(wide)
    .height(8)
    .lineWidth(1)
    .fillOpacity(8)
    .legend(new VizLegendOptionsBuilder().displayMode(LegendDisplayMode.List).placement(LegendPlacement.Bottom).showLegend(true))
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi));
  of.forEach((line, index) => panel.withTarget(query(line, index)));
  return panel;
}

function figure(title: string, description: string, unit: string, expression: string, legend = ''): Stat {
  return new Stat().title(title).description(description).unit(unit).datasource(source).span(4).height(4).withTarget(query([expression, legend]));
}

// Quantiles of a histogram, summed over what `by` does not name. Where nothing was counted they are NaN, which
// is no line to show: ">= 0" leaves it out.
function quantiles(histogram: string, labels: string, by: string, legend: string): Line[] {
  return ([[0.5, 'p50'], [0.9, 'p90'], [0.99, 'p99']] as const).map(([share, name]) => [
    `histogram_quantile(${share}, sum by (${by}le) (rate(${histogram}_bucket{${labels}}[${rate}]))) >= 0`,
    `${legend}${name}`,
  ]);
}

const service = [
  figure('Servers up', 'Scraped without an error.', 'short', `sum(up{${server}})`),
  figure('Models', '', 'short', `sum(lazynorm_models{${server}})`),
  figure('Version', '', 'none', `lazynorm_build_info{${server}}`, '{{version}}').textMode(BigValueTextMode.Name),
  figure('Up since', '', 'dateTimeFromNow', `max(process_start_time_seconds{${server}}) * 1000`),
  figure('Memory', 'Resident.', 'bytes', `sum(process_resident_memory_bytes{${server}})`),
  figure('Processor', 'Cores in use.', 'short', `sum(rate(process_cpu_seconds_total{${server}}[${rate}]))`),
  lines('Calls', 'By method.', 'reqps', 8, [`sum by (grpc_method) (rate(grpc_server_started_total{${server}}[${rate}])) > 0`, '{{grpc_method}}']),
  lines('Calls that fail', 'By status code.', 'reqps', 8,
    [`sum by (grpc_code) (rate(grpc_server_handled_total{${server},grpc_code!="OK"}[${rate}])) > 0`, '{{grpc_code}}']),
  lines('Time of a Predict', 'From arrival to answer; one with min_step waits for its step.', 's', 8,
    ...quantiles('grpc_server_handling_seconds', `${server},grpc_method="Predict"`, '', '')),
];

const perModel = [
  lines('Learning steps', '', 'ops', 8, [`rate(lazynorm_step_seconds_count{${model}}[${rate}])`, '{{model}}']),
  lines('Rows', 'Learned from, and predicted.', 'rowsps', 8,
    [`rate(lazynorm_rows_trained_total{${model}}[${rate}])`, '{{model}} learned'],
    [`rate(lazynorm_rows_predicted_total{${model}}[${rate}])`, '{{model}} predicted']),
  lines('Time of a step', 'Computing it, without the queue and the journal.', 's', 8, ...quantiles('lazynorm_step_seconds', model, 'model, ', '{{model}} ')),
  lines('Queue', 'Train requests that wait for their turn.', 'short', 8, [`lazynorm_train_queue_depth{${model}}`, '{{model}}']),
  lines('Refused', 'Train requests, by reason.', 'reqps', 8, [`rate(lazynorm_train_rejected_total{${model}}[${rate}])`, '{{model}} {{reason}}']),
  lines('Waiting for labels', 'Predictions that are remembered.', 'short', 8, [`lazynorm_remembered_predictions{${model}}`, '{{model}}']),
  figure('Step', '', 'short', `lazynorm_model_step{${model}}`, '{{model}}').span(12),
  figure('Statistics frozen', '1: yes.', 'short', `lazynorm_statistics_frozen{${model}}`, '{{model}}').span(12),
];

const learning = [
  lines('Loss', 'Prequential: of rows before learning from them. Train: of the same rows in train mode.', 'short', 12,
    [`lazynorm_prequential_loss{${model}}`, '{{model}} prequential'], [`lazynorm_train_loss{${model}}`, '{{model}} train']),
  lines('Prequential loss, quantiles over requests', '', 'short', 12,
    ...quantiles('lazynorm_prequential_loss_distribution', model, 'model, ', '{{model}} ')),
  lines('Prequential loss, all models', 'Challengers beside the model they shadow.', 'short', 12,
    [`lazynorm_prequential_loss{${server}}`, '{{model}}']),
  lines('Loss gap', 'Train less prequential loss: far below 0, the model fits what it was just shown and not what comes.', 'short', 12,
    [`lazynorm_loss_gap{${model}}`, '{{model}}']),
  lines('Batch shift', "How far the latest batch's mean lies from the running mean, in running standard deviations.", 'short', 8,
    [`lazynorm_batch_norm_shift{${model}}`, '{{model}} layer {{layer}}']),
  lines('Drift', 'Level: how far the recent rise of the loss is on its way to counting as drift. Found: how often it was, in the range shown.', 'short', 8,
    [`lazynorm_drift_level{${model}}`, '{{model}} level'], [`increase(lazynorm_drift_total{${model}}[$__range])`, '{{model}} found']),
  lines('Weights of experts', 'What each counts in predictions.', 'percentunit', 8, [`lazynorm_expert_weight{${model}}`, '{{model}} {{expert}}']),
  lines('Gradient norm', '', 'short', 12, [`lazynorm_gradient_norm{${model}}`, '{{model}}']),
  lines('Parameter norm', '', 'short', 12, [`lazynorm_parameter_norm{${model}}`, '{{model}}']),
];

const storage = [
  lines('Time of a commit', 'A group commit of all models that waited.', 's', 8, ...quantiles('lazynorm_journal_commit_seconds', server, '', '')),
  lines('Commits', '', 'ops', 8, [`rate(lazynorm_journal_commit_seconds_count{${server}}[${rate}])`, '{{instance}}']),
  lines('Journal', 'Bytes committed.', 'Bps', 8, [`rate(lazynorm_journal_bytes_total{${server}}[${rate}])`, '{{instance}}']),
  lines('Age of the newest snapshot', '', 's', 12, [`lazynorm_snapshot_age_seconds{${model}}`, '{{model}}']),
  lines('Reading the models back', 'At the latest start.', 's', 12, [`lazynorm_recovery_seconds{${server}}`, '{{instance}}']),
];

// Empty where one server is alone.
const replicas = [
  lines('Models written', 'By each replica; the others follow.', 'short', 12, [`lazynorm_models_held{${server}}`, '{{instance}}']),
  lines('Lag', 'How old the model is that a replica serves and that lies furthest behind.', 's', 12,
    [`max by (instance) (lazynorm_replica_lag_seconds{${model}})`, '{{instance}}']),
  lines('Calls taken elsewhere', 'To the replica that writes their model.', 'reqps', 12,
    [`sum by (instance, grpc_method) (rate(lazynorm_forwarded_total{${server}}[${rate}]))`, '{{instance}} {{grpc_method}}']),
  lines('Out of reach', 'Of the replicas that are alive, those that each has no connection to.', 'short', 12,
    [`lazynorm_replicas_unreachable{${server}}`, '{{instance}}']),
];

const dashboard = new DashboardBuilder('lazynorm')
  .uid('lazynorm')
  .tags(['lazynorm'])
  .refresh('5s')
  .time({ from: 'now-15m', to: 'now' })
  .timezone('browser')
  .editable()
  .tooltip(DashboardCursorSync.Crosshair)
  .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'))
  .withVariable(new QueryVariableBuilder('job').label('Job').datasource(source).query('label_values(lazynorm_build_info, job)').refresh(VariableRefresh.OnTimeRangeChanged))
  .withVariable(
    new QueryVariableBuilder('model').label('Model').datasource(source).query('label_values(lazynorm_model_step{job="$job"}, model)')
      .refresh(VariableRefresh.OnTimeRangeChanged).multi(true).includeAll(true),
  );
for (const [title, panels] of Object.entries({ Service: service, Models: perModel, Learning: learning, Storage: storage, Replicas: replicas })) {
  dashboard.withRow(new RowBuilder(title));
  panels.forEach((panel) => dashboard.withPanel(panel));
}
console.log(JSON.stringify(dashboard.build(), null, 2));
