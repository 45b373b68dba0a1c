# frozen_string_literal: true

require 'google/protobuf/well_known_types'
require 'google/rpc/error_details_pb'
require 'grpc'

module Lazynorm
  # What the server answered instead of a result, or why it could not be asked. Each canonical code that
  # the server uses has a subclass of its own.
  class Error < StandardError
    # The canonical name, such as :INVALID_ARGUMENT.
    attr_reader :code
    # Stable, such as 'WIDTH_MISMATCH'; nil if the answer is not the server's own.
    attr_reader :reason
    # The part of the request at fault, such as 'features.values[17]', or nil.
    attr_reader :field
    # Seconds after which the server expects the same call to succeed, or nil.
    attr_reader :retry_after

    def initialize(message, code:, reason: nil, field: nil, retry_after: nil)
      super(message)
      @code = code
      @reason = reason
      @field = field
      @retry_after = retry_after
    end

    # Whether the same call may succeed later: the server is away, starting or draining, or it was full
    # and said when to come back.
    def retryable?
      code == :UNAVAILABLE || (code == :RESOURCE_EXHAUSTED && !retry_after.nil?)
    end

    # The Error of a GRPC::BadStatus.
    def self.from(bad_status)
      code = CODES.fetch(bad_status.code, :UNKNOWN)
      # How gRPC sometimes tells that the connection broke.
      code = :UNAVAILABLE if code == :UNKNOWN && bad_status.details.include?('Stream removed')
      CLASSES.fetch(code, self).new(bad_status.details, code: code, **details(bad_status))
    end

    def self.details(bad_status)
      (bad_status.to_rpc_status&.details || []).each_with_object({}) do |any, found|
        case any.type_name
        when 'google.rpc.ErrorInfo'
          found[:reason] = any.unpack(Google::Rpc::ErrorInfo).reason
        when 'google.rpc.BadRequest'
          found[:field] = any.unpack(Google::Rpc::BadRequest).field_violations.first&.field
        when 'google.rpc.RetryInfo'
          found[:retry_after] = any.unpack(Google::Rpc::RetryInfo).retry_delay&.to_f
        end
      end
    end
    private_class_method :details
  end

  # The request is wrong, whatever the state of the server.
  class InvalidArgument < Error; end
  # No such model, checkpoint or remembered prediction.
  class NotFound < Error; end
  # The id is taken.
  class AlreadyExists < Error; end
  # Not in the state that the model is in.
  class FailedPrecondition < Error; end
  # The step would not have been finite and was undone.
  class Aborted < Error; end
  # A limit or a queue is full.
  class ResourceExhausted < Error; end
  # Not reached, starting, or shutting down.
  class Unavailable < Error; end
  # No answer in time.
  class DeadlineExceeded < Error; end
  # The server asks for a token.
  class Unauthenticated < Error; end
  # The token is not good for this call.
  class PermissionDenied < Error; end

  class Error
    # { 3 => :INVALID_ARGUMENT, ... }
    CODES = GRPC::Core::StatusCodes.constants.to_h { |name| [GRPC::Core::StatusCodes.const_get(name), name] }.freeze
    CLASSES = {
      INVALID_ARGUMENT: InvalidArgument, NOT_FOUND: NotFound, ALREADY_EXISTS: AlreadyExists,
      FAILED_PRECONDITION: FailedPrecondition, ABORTED: Aborted, RESOURCE_EXHAUSTED: ResourceExhausted,
      UNAVAILABLE: Unavailable, DEADLINE_EXCEEDED: DeadlineExceeded, UNAUTHENTICATED: Unauthenticated,
      PERMISSION_DENIED: PermissionDenied
    }.freeze
    private_constant :CODES, :CLASSES
  end
end
