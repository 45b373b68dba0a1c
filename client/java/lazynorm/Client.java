package lazynorm;

import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import io.netty.handler.ssl.SslContextBuilder;
import java.io.File;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.BiFunction;
import javax.net.ssl.SSLException;
import lazynorm.v1.CreateModelRequest;
import lazynorm.v1.DeleteModelRequest;
import lazynorm.v1.EvaluateRequest;
import lazynorm.v1.EvaluateResponse;
import lazynorm.v1.FreezeStatisticsRequest;
import lazynorm.v1.GetModelRequest;
import lazynorm.v1.GetModelStateRequest;
import lazynorm.v1.GetModelStateResponse;
import lazynorm.v1.Model;
import lazynorm.v1.ModelServiceGrpc;
import lazynorm.v1.ModelServiceGrpc.ModelServiceBlockingStub;
import lazynorm.v1.ModelSpec;
import lazynorm.v1.PredictRequest;
import lazynorm.v1.PredictResponse;
import lazynorm.v1.PredictionServiceGrpc;
import lazynorm.v1.PredictionServiceGrpc.PredictionServiceBlockingStub;
import lazynorm.v1.TrainRequest;
import lazynorm.v1.TrainResponse;
import lazynorm.v1.TrainingServiceGrpc;
import lazynorm.v1.TrainingServiceGrpc.TrainingServiceBlockingStub;
import lazynorm.v1.UnfreezeStatisticsRequest;

/**
 * A connection to a server. Thread-safe. Errors are {@link LazynormException}s.
 *
 * <p>What can be sent twice without harm is tried again while the server is away or says when to come
 * back. Train is among it because each request carries a request_id, made by the client if need be.
 */
public final class Client implements AutoCloseable {
  private final ManagedChannel channel;
  private final Duration timeout;
  private final ModelServiceBlockingStub models;
  private final TrainingServiceBlockingStub training;
  private final PredictionServiceBlockingStub prediction;

  /** Where a server is and how it is spoken to. */
  public static final class Builder {
    private final String address;
    private Duration timeout = Duration.ofSeconds(30);
    private SslContextBuilder tls;
    private String token;

    private Builder(String address) {
      this.address = address;
    }

    /** For a call with all its retries; 30 s unless set. */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /** TLS with the system's authorities. */
    public Builder tls() {
      if (tls == null) tls = GrpcSslContexts.forClient();
      return this;
    }

    /** TLS with the authorities of a PEM file. */
    public Builder tlsCa(File pem) {
      tls().tls.trustManager(pem);
      return this;
    }

    /** For servers that ask for a certificate (mutual TLS): PEM files. */
    public Builder clientCertificate(File certificate, File key) {
      tls().tls.keyManager(certificate, key);
      return this;
    }

    /** Sent as bearer token with every call; needs TLS except on this machine. */
    public Builder token(String token) {
      this.token = token;
      return this;
    }

    /** The connection itself is made by the first call. */
    public Client connect() throws SSLException {
      if (token != null && tls == null && !address.matches("(localhost:|127\\.|\\[::1\\]:).*")) {
        throw new IllegalArgumentException("token: expected TLS, or a server on this machine");
      }
      return new Client(this);
    }
  }

  /** @param address host:port, or any other name that gRPC resolves */
  public static Builder to(String address) {
    return new Builder(address);
  }

  private Client(Builder builder) throws SSLException {
    NettyChannelBuilder connection = NettyChannelBuilder.forTarget(builder.address)
        .defaultLoadBalancingPolicy("round_robin")
        .keepAliveTime(1, TimeUnit.MINUTES)
        .maxInboundMessageSize(Integer.MAX_VALUE); // a model's state may be large
    if (builder.tls == null) {
      connection.usePlaintext();
    } else {
      connection.sslContext(builder.tls.build());
    }
    if (builder.token != null) {
      Metadata headers = new Metadata();
      headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + builder.token);
      connection.intercept(MetadataUtils.newAttachHeadersInterceptor(headers));
    }
    channel = connection.build();
    timeout = builder.timeout;
    models = ModelServiceGrpc.newBlockingStub(channel);
    training = TrainingServiceGrpc.newBlockingStub(channel);
    prediction = PredictionServiceGrpc.newBlockingStub(channel);
  }

  /** For stubs of your own: streams, and the rpcs that have no method here. */
  public ManagedChannel channel() {
    return channel;
  }

  @Override
  public void close() {
    channel.shutdownNow();
  }

  public Model createModel(String id, ModelSpec spec) {
    CreateModelRequest request = CreateModelRequest.newBuilder().setModelId(id).setSpec(spec).build();
    return once(models, request, ModelServiceBlockingStub::createModel);
  }

  public Model getModel(String model) {
    GetModelRequest request = GetModelRequest.newBuilder().setModel(model).build();
    return repeat(models, request, ModelServiceBlockingStub::getModel);
  }

  public void deleteModel(String model) {
    DeleteModelRequest request = DeleteModelRequest.newBuilder().setModel(model).build();
    once(models, request, ModelServiceBlockingStub::deleteModel);
  }

  /** A torch state_dict. */
  public GetModelStateResponse getState(String model) {
    GetModelStateRequest request = GetModelStateRequest.newBuilder().setModel(model).build();
    return repeat(models, request, ModelServiceBlockingStub::getModelState);
  }

  /** From now on training leaves the running statistics alone and normalises with them. */
  public Model freezeStatistics(String model) {
    FreezeStatisticsRequest request = FreezeStatisticsRequest.newBuilder().setModel(model).build();
    return repeat(models, request, ModelServiceBlockingStub::freezeStatistics);
  }

  public Model unfreezeStatistics(String model) {
    UnfreezeStatisticsRequest request = UnfreezeStatisticsRequest.newBuilder().setModel(model).build();
    return repeat(models, request, ModelServiceBlockingStub::unfreezeStatistics);
  }

  /** One learning step; under a random request_id if the request has none. */
  public TrainResponse train(TrainRequest request) {
    TrainRequest identified = request.getRequestId().isEmpty()
        ? request.toBuilder().setRequestId(UUID.randomUUID().toString()).build()
        : request;
    return repeat(training, identified, TrainingServiceBlockingStub::train);
  }

  public PredictResponse predict(PredictRequest request) {
    return repeat(prediction, request, PredictionServiceBlockingStub::predict);
  }

  public EvaluateResponse evaluate(EvaluateRequest request) {
    return repeat(prediction, request, PredictionServiceBlockingStub::evaluate);
  }

  private <S extends AbstractStub<S>, Q, A> A once(S stub, Q request, BiFunction<S, Q, A> method) {
    return call(false, stub, request, method);
  }

  private <S extends AbstractStub<S>, Q, A> A repeat(S stub, Q request, BiFunction<S, Q, A> method) {
    return call(true, stub, request, method);
  }

  private <S extends AbstractStub<S>, Q, A> A call(
      boolean repeatable, S stub, Q request, BiFunction<S, Q, A> method) {
    return Retry.untilDeadline(timeout, repeatable, left ->
        method.apply(stub.withDeadlineAfter(left.toNanos(), TimeUnit.NANOSECONDS), request));
  }
}
