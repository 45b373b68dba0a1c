# frozen_string_literal: true

module Lazynorm
  # Tries again what may succeed later, until a deadline.
  module Retry
    FIRST_PAUSE = 0.1
    LONGEST_PAUSE = 5.0

    # Yields the deadline, as often as is worth while; raises Lazynorm::Error. A call that is not
    # repeatable is tried once.
    def self.until_deadline(timeout, repeatable:)
      deadline = Time.now + timeout
      pause = FIRST_PAUSE
      begin
        yield deadline
      rescue GRPC::BadStatus => e
        error = Error.from(e)
        wait = [pause * rand(0.8..1.2), error.retry_after || 0].max # not all clients in one instant
        raise error unless repeatable && error.retryable? && Time.now + wait < deadline

        sleep(wait)
        pause = [pause * 2, LONGEST_PAUSE].min
        retry
      end
    end
  end
end
