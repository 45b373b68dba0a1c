# frozen_string_literal: true

# The scenario of ../README.md: acceptance.rb ADDRESS.
require 'lazynorm'

MODEL = 'acceptance-ruby'
SPEC = { mlp: { hidden: [16] }, optimizer: { adam: { lr: 0.01 } }, seed: 7 }.freeze

# Features and targets: quarters and sixteenths, which float32 holds exactly.
def rows(first, count)
  x = (first...first + count).map { |n| [(n * 7 % 11) - 5, (n * 5 % 13) - 6, (n * 3 % 17) - 8].map { |v| v / 4.0 } }
  [x, x.map { |a, b, c| a - (2 * b) + (a * c) }]
end

def check(condition, expected)
  abort("acceptance: expected #{expected}") unless condition
end

def report(what, **figures)
  puts [what, *figures.map { |name, value| "#{name}=#{value.is_a?(Float) ? format('%.6f', value) : value}" }].join(' ')
end

def refusal
  yield
  check(false, 'an error')
rescue Lazynorm::Error => e
  report('error', code: e.code, reason: e.reason, field: e.field || '-')
end

# The running statistics, and the first weights.
def statistics(client)
  state = client.state(MODEL)
  [state.select { |name, _| name.end_with?('running_mean', 'running_var', 'num_batches_tracked') }, state['0.weight']]
end

def create(client)
  begin
    client.delete_model(MODEL) # of an earlier run
  rescue Lazynorm::NotFound
    # There was none.
  end
  model = client.create_model(MODEL, **SPEC)
  check(model.state == :STATE_LAZY, 'a lazy model')
  report('create', step: model.step)
end

def train(client)
  steps = Array.new(50) do |k|
    x, y = rows(16 * k, 16)
    client.train(MODEL, x, targets: y)
  end
  check(steps.map(&:step) == (1..50).to_a, 'steps 1 to 50')
  check(steps.last.prequential_loss < steps.first.prequential_loss, 'a loss that falls')
  report('train', **steps.last.to_h.slice(:step, :loss, :prequential_loss))
end

def predict(client)
  answer = client.predict(MODEL, rows(800, 3).first, min_step: 50)
  check(answer.values.map(&:size) == [1, 1, 1], '3 rows of 1 prediction')
  report('predict', step: answer.step, values: answer.values.map { |row| format('%.6f', *row) }.join(','))
end

def evaluate(client)
  x, y = rows(800, 100)
  evaluation = client.evaluate(MODEL, x, targets: y)
  predicted = client.predict(MODEL, x).values.flatten
  error = predicted.zip(y).sum { |p, t| (p - t)**2 } / y.size
  check((evaluation.loss - error).abs < 1e-5 * evaluation.loss, 'the mean squared error')
  report('evaluate', **evaluation.to_h.slice(:rows, :loss, :r2))
end

def freeze_and_unfreeze(client)
  check(client.freeze_statistics(MODEL).statistics_frozen, 'frozen statistics')
  before, weight_before = statistics(client)
  x, y = rows(900, 16)
  frozen = client.train(MODEL, x, targets: y)
  after, weight_after = statistics(client)
  check(before.size == 3 && before == after, 'statistics unchanged')
  check(weight_before != weight_after, 'weights that go on learning')
  check(!client.unfreeze_statistics(MODEL).statistics_frozen, 'statistics unfrozen')
  x, y = rows(916, 16)
  moving = client.train(MODEL, x, targets: y)
  check(statistics(client).first != after, 'statistics that move again')
  report('freeze', step: moving.step, frozen_loss: frozen.loss, loss: moving.loss)
end

def refuse(client)
  refusal { client.predict(MODEL, [[0, 0]]) }
  refusal { client.predict(MODEL, [[0, Float::NAN, 0]]) }
  refusal { client.predict('no-such-model', [[0, 0, 0]]) }
end

def repeat(client)
  x, y = rows(932, 16)
  first, again = Array.new(2) { client.train(MODEL, x, targets: y, request_id: 'acceptance-1') }
  check(again.replayed && [again.step, again.loss] == [first.step, first.loss], 'the first answer again')
  check(client.get_model(MODEL).step == first.step, 'no further step')
  report('retry', step: again.step, loss: again.loss)
  x, y = rows(948, 16)
  refusal { client.train(MODEL, x, targets: y, request_id: 'acceptance-1') }
end

def delete(client)
  client.delete_model(MODEL)
  refusal { client.get_model(MODEL) }
end

abort('usage: acceptance.rb ADDRESS') unless ARGV.size == 1
client = Lazynorm::Client.new(ARGV[0], tls_ca: ENV.fetch('LAZYNORM_TLS_CA', nil), token: ENV.fetch('LAZYNORM_TOKEN', nil))
%i[create train predict evaluate freeze_and_unfreeze refuse repeat delete].each { |part| send(part, client) }
puts 'ok'
