package lazynorm;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import google.rpc.ErrorDetails.BadRequest;
import google.rpc.ErrorDetails.ErrorInfo;
import google.rpc.ErrorDetails.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Optional;

/** What the server answered instead of a result, or why it could not be asked. */
public final class LazynormException extends RuntimeException {
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private final Status.Code code;
  private String reason = "";
  private String field = "";
  private Duration retryAfter;

  /** Reads the error of a call. */
  public LazynormException(StatusRuntimeException error) {
    super(error.getStatus().getDescription(), error);
    code = error.getStatus().getCode();
    byte[] packed = error.getTrailers() == null ? null : error.getTrailers().get(DETAILS);
    if (packed == null) return;
    try {
      for (Any detail : google.rpc.StatusOuterClass.Status.parseFrom(packed).getDetailsList()) read(detail);
    } catch (InvalidProtocolBufferException e) {
      addSuppressed(e); // The code and the message are there anyway.
    }
  }

  /** gRPC's canonical code. */
  public Status.Code code() {
    return code;
  }

  /** Stable, such as "WIDTH_MISMATCH"; empty if the answer is not the server's own. */
  public String reason() {
    return reason;
  }

  /** The part of the request at fault, such as "features.values[17]"; empty if there is none. */
  public String field() {
    return field;
  }

  /** After this time the server expects the same call to succeed. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  /**
   * Whether the same call may succeed later: the server is away, starting or draining, or it was full
   * and said when to come back.
   */
  public boolean isRetryable() {
    return code == Status.Code.UNAVAILABLE || (code == Status.Code.RESOURCE_EXHAUSTED && retryAfter != null);
  }

  private void read(Any detail) throws InvalidProtocolBufferException {
    if (detail.is(ErrorInfo.class)) {
      reason = detail.unpack(ErrorInfo.class).getReason();
    } else if (detail.is(BadRequest.class)) {
      BadRequest request = detail.unpack(BadRequest.class);
      if (request.getFieldViolationsCount() > 0) field = request.getFieldViolations(0).getField();
    } else if (detail.is(RetryInfo.class)) {
      com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
      retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
    }
  }
}
