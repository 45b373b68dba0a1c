# frozen_string_literal: true

# Client of lazynorm, the model server that learns while it serves.
#
#   client = Lazynorm::Client.new('localhost:50051')
#   client.create_model('demand', mlp: { hidden: [32] })
#   step = client.train('demand', features, targets: targets)
#   puts step.loss, client.predict('demand', features).values
#
# Rows are arrays of arrays of numbers. Messages are those of Lazynorm::V1.
module Lazynorm
end

require 'lazynorm/v1/model_service_services_pb'
require 'lazynorm/v1/prediction_service_services_pb'
require 'lazynorm/v1/training_service_services_pb'
require 'lazynorm/errors'
require 'lazynorm/retry'
require 'lazynorm/client'
