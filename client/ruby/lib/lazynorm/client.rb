# frozen_string_literal: true

require 'grpc'
require 'securerandom'

module Lazynorm
  # What a model predicts: rows of numbers, and its step.
  Prediction = Struct.new(:values, :step)

  # A connection to a server. Thread-safe.
  #
  # What can be sent twice without harm is tried again while the server is away or says when to come
  # back. Train is among it because each request carries a request_id, made by the client if need be.
  # Errors are Lazynorm::Error.
  class Client
    # All three, as generated, for the rpcs that have no method here.
    attr_reader :models, :training, :prediction

    # timeout: seconds for a call with all its retries.
    # tls_ca: a PEM file of authorities; tls: true uses the system's. client_cert and client_key: PEM
    # files, for servers that ask for them. token: sent with every call; needs TLS except on this machine.
    def initialize(address = '127.0.0.1:50051', timeout: 30, tls: false, tls_ca: nil, client_cert: nil,
                   client_key: nil, token: nil)
      @timeout = timeout
      @metadata = token ? { 'authorization' => "Bearer #{token}" } : {}
      secure = tls || tls_ca || client_cert
      raise ArgumentError, 'token: expected TLS, or a server on this machine' if token && !secure && !local?(address)

      channel = open_channel(address, secure && [tls_ca, client_key, client_cert])
      @models, @training, @prediction = [V1::ModelService, V1::TrainingService, V1::PredictionService].map do |service|
        service::Stub.new(address, nil, channel_override: channel)
      end
    end

    # spec: the fields of a ModelSpec, nested: mlp: { hidden: [32] }, seed: 7
    def create_model(model_id, **spec)
      call(models, :create_model, V1::CreateModelRequest.new(model_id: model_id, spec: V1::ModelSpec.new(**spec)))
    end

    def get_model(model)
      call(models, :get_model, V1::GetModelRequest.new(model: model), repeatable: true)
    end

    # All models, in the order of their ids.
    def list_models
      Enumerator.new do |found|
        token = ''
        loop do
          page = call(models, :list_models, V1::ListModelsRequest.new(page_token: token), repeatable: true)
          page.models.each { |model| found << model }
          token = page.next_page_token
          break if token.empty?
        end
      end
    end

    def delete_model(model)
      call(models, :delete_model, V1::DeleteModelRequest.new(model: model))
    end

    # A torch state_dict: { '0.weight' => [...] }, each tensor flat and row-major.
    def state(model)
      answer = call(models, :get_model_state, V1::GetModelStateRequest.new(model: model), repeatable: true)
      answer.tensors.to_h do |tensor|
        [tensor.name, (tensor.int64_values.empty? ? tensor.values : tensor.int64_values).to_a]
      end
    end

    # From now on training leaves the running statistics alone and normalises with them.
    def freeze_statistics(model)
      call(models, :freeze_statistics, V1::FreezeStatisticsRequest.new(model: model), repeatable: true)
    end

    def unfreeze_statistics(model)
      call(models, :unfreeze_statistics, V1::UnfreezeStatisticsRequest.new(model: model), repeatable: true)
    end

    # One learning step. targets: a number a row, or a row of numbers; labels: a class a row.
    def train(model, features, targets: nil, labels: [], sample_weights: [], request_id: SecureRandom.uuid)
      call(training, :train, V1::TrainRequest.new(
                               model: model, features: matrix(features), targets: targets && matrix(targets),
                               labels: labels, sample_weights: sample_weights, request_id: request_id
                             ), repeatable: true)
    end

    # min_step: waits, within the timeout, until the model has reached it. probabilities: of classes.
    def predict(model, features, min_step: 0, probabilities: false)
      output = probabilities ? :OUTPUT_PROBABILITIES : :OUTPUT_RAW
      answer = call(prediction, :predict, V1::PredictRequest.new(
                                            model: model, features: matrix(features), min_step: min_step, output: output
                                          ), repeatable: true)
      columns = answer.predictions.columns
      Prediction.new(answer.predictions.values.each_slice(columns).to_a, answer.step)
    end

    def evaluate(model, features, targets: nil, labels: [], sample_weights: [])
      call(prediction, :evaluate, V1::EvaluateRequest.new(
                                    model: model, features: matrix(features), targets: targets && matrix(targets),
                                    labels: labels, sample_weights: sample_weights
                                  ), repeatable: true)
    end

    private

    def call(stub, method, request, repeatable: false)
      Retry.until_deadline(@timeout, repeatable: repeatable) do |deadline|
        stub.public_send(method, request, deadline: deadline, metadata: @metadata)
      end
    end

    def matrix(rows)
      rows = rows.map { |row| Array(row) }
      columns = rows.first&.size || 0
      raise ArgumentError, 'expected rows of equal width' unless rows.all? { |row| row.size == columns }

      V1::Matrix.new(rows: rows.size, columns: columns, values: rows.flatten(1))
    end

    def open_channel(address, pem_files)
      credentials = :this_channel_is_insecure
      credentials = GRPC::Core::ChannelCredentials.new(*pem_files.map { |path| path && File.read(path) }) if pem_files
      GRPC::Core::Channel.new(address, {
                                'grpc.lb_policy_name' => 'round_robin',
                                'grpc.keepalive_time_ms' => 60_000,
                                'grpc.max_receive_message_length' => -1 # a model's state may be large
                              }, credentials)
    end

    def local?(address)
      address.start_with?('unix:', 'localhost:', '127.', '[::1]:')
    end
  end
end
