package acceptance;

import io.grpc.Status;
import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import lazynorm.Client;
import lazynorm.LazynormException;
import lazynorm.Matrices;
import lazynorm.v1.Adam;
import lazynorm.v1.EvaluateRequest;
import lazynorm.v1.EvaluateResponse;
import lazynorm.v1.Matrix;
import lazynorm.v1.Mlp;
import lazynorm.v1.Model;
import lazynorm.v1.ModelSpec;
import lazynorm.v1.NamedTensor;
import lazynorm.v1.Optimizer;
import lazynorm.v1.PredictRequest;
import lazynorm.v1.PredictResponse;
import lazynorm.v1.State;
import lazynorm.v1.TrainRequest;
import lazynorm.v1.TrainResponse;

/** The scenario of ../../README.md: Acceptance ADDRESS. */
public final class Acceptance {
  private static final String MODEL = "acceptance-java";
  private static final ModelSpec SPEC = ModelSpec.newBuilder()
      .setMlp(Mlp.newBuilder().addHidden(16))
      .setOptimizer(Optimizer.newBuilder().setAdam(Adam.newBuilder().setLr(0.01)))
      .setSeed(7)
      .build();

  /** Features and targets: quarters and sixteenths, which float32 holds exactly. */
  private record Rows(float[][] x, float[] y) {
    static Rows of(int first, int count) {
      Rows rows = new Rows(new float[count][], new float[count]);
      for (int i = 0; i < count; i++) {
        int n = first + i;
        float a = (n * 7 % 11 - 5) / 4f, b = (n * 5 % 13 - 6) / 4f, c = (n * 3 % 17 - 8) / 4f;
        rows.x[i] = new float[] {a, b, c};
        rows.y[i] = a - 2 * b + a * c;
      }
      return rows;
    }

    Matrix features() {
      return Matrices.of(x);
    }

    TrainRequest.Builder training() {
      return TrainRequest.newBuilder().setModel(MODEL).setFeatures(features()).setTargets(Matrices.column(y));
    }
  }

  private final Client client;

  private Acceptance(Client client) {
    this.client = client;
  }

  private static void check(boolean condition, String expected) {
    if (!condition) throw new AssertionError("expected " + expected);
  }

  private static void report(String format, Object... figures) {
    System.out.println(String.format(Locale.ROOT, format, figures));
  }

  private static void refusal(Runnable call) {
    try {
      call.run();
    } catch (LazynormException e) {
      report("error code=%s reason=%s field=%s", e.code(), e.reason(), e.field().isEmpty() ? "-" : e.field());
      return;
    }
    check(false, "an error");
  }

  private void create() {
    try {
      client.deleteModel(MODEL); // of an earlier run
    } catch (LazynormException e) {
      if (e.code() != Status.Code.NOT_FOUND) throw e;
    }
    Model model = client.createModel(MODEL, SPEC);
    check(model.getState() == State.STATE_LAZY, "a lazy model");
    report("create step=%d", model.getStep());
  }

  private void train() {
    List<TrainResponse> steps = new ArrayList<>();
    for (int k = 0; k < 50; k++) {
      steps.add(client.train(Rows.of(16 * k, 16).training().build()));
      check(steps.get(k).getStep() == k + 1, "step " + (k + 1));
    }
    TrainResponse last = steps.get(49);
    check(last.getPrequentialLoss() < steps.get(0).getPrequentialLoss(), "a loss that falls");
    report("train step=%d loss=%.6f prequential_loss=%.6f", last.getStep(), last.getLoss(), last.getPrequentialLoss());
  }

  private PredictResponse predict(Matrix features) {
    return client.predict(
        PredictRequest.newBuilder().setModel(MODEL).setFeatures(features).setMinStep(50).build());
  }

  private void predict() {
    PredictResponse answer = predict(Rows.of(800, 3).features());
    check(answer.getPredictions().getRows() == 3 && answer.getPredictions().getColumns() == 1, "3 rows of 1");
    String values = answer.getPredictions().getValuesList().stream()
        .map(value -> String.format(Locale.ROOT, "%.6f", value)).collect(Collectors.joining(","));
    report("predict step=%d values=%s", answer.getStep(), values);
  }

  private void evaluate() {
    Rows rows = Rows.of(800, 100);
    EvaluateResponse evaluation = client.evaluate(EvaluateRequest.newBuilder()
        .setModel(MODEL).setFeatures(rows.features()).setTargets(Matrices.column(rows.y)).build());
    Matrix predictions = predict(rows.features()).getPredictions();
    double sum = 0;
    for (int i = 0; i < 100; i++) sum += Math.pow((double) predictions.getValues(i) - rows.y[i], 2);
    check(Math.abs(evaluation.getLoss() - sum / 100) < 1e-5 * evaluation.getLoss(), "the mean squared error");
    report("evaluate rows=%d loss=%.6f r2=%.6f", evaluation.getRows(), evaluation.getLoss(), evaluation.getR2());
  }

  private Map<String, NamedTensor> state() {
    Map<String, NamedTensor> tensors = new TreeMap<>();
    for (NamedTensor tensor : client.getState(MODEL).getTensorsList()) tensors.put(tensor.getName(), tensor);
    return tensors;
  }

  /** The running statistics of a state. */
  private static Map<String, NamedTensor> statistics(Map<String, NamedTensor> state) {
    Map<String, NamedTensor> statistics = new TreeMap<>(state);
    statistics.keySet().removeIf(name -> !name.matches(".*\\.(running_mean|running_var|num_batches_tracked)"));
    check(statistics.size() == 3, "3 running statistics");
    return statistics;
  }

  private void freeze() {
    check(client.freezeStatistics(MODEL).getStatisticsFrozen(), "frozen statistics");
    Map<String, NamedTensor> before = state();
    TrainResponse frozen = client.train(Rows.of(900, 16).training().build());
    Map<String, NamedTensor> after = state();
    check(statistics(before).equals(statistics(after)), "statistics unchanged");
    check(!before.get("0.weight").equals(after.get("0.weight")), "weights that go on learning");
    check(!client.unfreezeStatistics(MODEL).getStatisticsFrozen(), "statistics unfrozen");
    TrainResponse moving = client.train(Rows.of(916, 16).training().build());
    check(!statistics(state()).equals(statistics(after)), "statistics that move again");
    report("freeze step=%d frozen_loss=%.6f loss=%.6f", moving.getStep(), frozen.getLoss(), moving.getLoss());
  }

  private void errors() {
    refusal(() -> predict(Matrices.of(new float[] {0, 0})));
    refusal(() -> predict(Matrices.of(new float[] {0, Float.NaN, 0})));
    refusal(() -> client.predict(PredictRequest.newBuilder()
        .setModel("no-such-model").setFeatures(Matrices.of(new float[] {0, 0, 0})).build()));
  }

  private void retry() {
    TrainRequest request = Rows.of(932, 16).training().setRequestId("acceptance-1").build();
    TrainResponse first = client.train(request);
    TrainResponse again = client.train(request);
    check(again.getReplayed(), "a replayed answer");
    check(again.getStep() == first.getStep() && again.getLoss() == first.getLoss(), "the first answer again");
    check(client.getModel(MODEL).getStep() == first.getStep(), "no further step");
    report("retry step=%d loss=%.6f", again.getStep(), again.getLoss());
    refusal(() -> client.train(Rows.of(948, 16).training().setRequestId("acceptance-1").build()));
  }

  private void delete() {
    client.deleteModel(MODEL);
    refusal(() -> client.getModel(MODEL));
  }

  public static void main(String[] arguments) throws Exception {
    Client.Builder connection = Client.to(arguments[0]);
    String ca = System.getenv("LAZYNORM_TLS_CA");
    if (ca != null) connection.tlsCa(new File(ca));
    String token = System.getenv("LAZYNORM_TOKEN");
    if (token != null) connection.token(token);
    try (Client client = connection.connect()) {
      Acceptance scenario = new Acceptance(client);
      scenario.create();
      scenario.train();
      scenario.predict();
      scenario.evaluate();
      scenario.freeze();
      scenario.errors();
      scenario.retry();
      scenario.delete();
      System.out.println("ok");
    }
  }
}
