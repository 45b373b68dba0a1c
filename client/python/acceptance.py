"""The scenario of ../README.md: acceptance.py ADDRESS."""

import os
import sys

import numpy as np

from lazynorm import Client, LazynormError, ModelSpec, NotFound

MODEL = "acceptance-python"
SPEC = ModelSpec(mlp={"hidden": [16]}, optimizer={"adam": {"lr": 0.01}}, seed=7)


def rows(first, count):
    """Features and targets: quarters and sixteenths, which float32 holds exactly."""
    n = np.arange(first, first + count)
    x = np.stack([n * 7 % 11 - 5, n * 5 % 13 - 6, n * 3 % 17 - 8], axis=1) / 4
    return x, x[:, 0] - 2 * x[:, 1] + x[:, 0] * x[:, 2]


def check(condition, expected):
    if not condition:
        raise SystemExit(f"acceptance: expected {expected}")


def report(what, **figures):
    def text(value):
        return f"{value:.6f}" if isinstance(value, float) else str(value)

    print(what, *(f"{name}={text(value)}" for name, value in figures.items()))


def create(client):
    try:
        client.delete_model(MODEL)  # of an earlier run
    except NotFound:
        pass
    model = client.create_model(MODEL, SPEC)
    check(model.in_features == 0, "a lazy model")
    report("create", step=model.step)


def train(client):
    losses = []
    for k in range(50):
        step = client.train(MODEL, *rows(16 * k, 16))
        check(step.step == k + 1, f"step {k + 1}")
        losses.append(step.prequential_loss)
    check(losses[-1] < losses[0], "a loss that falls")
    report("train", step=step.step, loss=step.loss, prequential_loss=step.prequential_loss)


def predict(client):
    prediction = client.predict(MODEL, rows(800, 3)[0], min_step=50)
    check(prediction.values.shape == (3, 1), "3 rows of 1 prediction")
    values = prediction.values[:, 0].tolist()
    report("predict", step=prediction.step, values=",".join(f"{value:.6f}" for value in values))


def evaluate(client):
    x, y = rows(800, 100)
    evaluation = client.evaluate(MODEL, x, y)
    errors = client.predict(MODEL, x).values[:, 0] - y
    check(abs(evaluation.loss - np.mean(errors ** 2)) < 1e-5 * evaluation.loss, "the mean squared error")
    report("evaluate", rows=evaluation.rows, loss=evaluation.loss, r2=evaluation.r2)


def statistics(client):
    """The running statistics, and the first weights."""
    tensors = client.get_state(MODEL).tensors
    running = ("running_mean", "running_var", "num_batches_tracked")
    return ([tensors[name].tolist() for name in sorted(tensors) if name.endswith(running)],
            tensors["0.weight"].tolist())


def freeze(client):
    check(client.freeze_statistics(MODEL).statistics_frozen, "frozen statistics")
    before, weight_before = statistics(client)
    frozen = client.train(MODEL, *rows(900, 16))
    after, weight_after = statistics(client)
    check(before == after, "statistics unchanged")
    check(weight_before != weight_after, "weights that go on learning")
    check(not client.unfreeze_statistics(MODEL).statistics_frozen, "statistics unfrozen")
    moving = client.train(MODEL, *rows(916, 16))
    check(statistics(client)[0] != after, "statistics that move again")
    report("freeze", step=moving.step, frozen_loss=frozen.loss, loss=moving.loss)


def refusal(call):
    try:
        call()
    except LazynormError as error:
        report("error", code=error.code.name, reason=error.reason, field=error.field or "-")
        return
    check(False, "an error")


def errors(client):
    refusal(lambda: client.predict(MODEL, [[0, 0]]))
    refusal(lambda: client.predict(MODEL, [[0, float("nan"), 0]]))
    refusal(lambda: client.predict("no-such-model", [[0, 0, 0]]))


def retry(client):
    x, y = rows(932, 16)
    first = client.train(MODEL, x, y, request_id="acceptance-1")
    again = client.train(MODEL, x, y, request_id="acceptance-1")
    check(again.replayed and (again.step, again.loss) == (first.step, first.loss), "the first answer again")
    check(client.get_model(MODEL).step == first.step, "no further step")
    report("retry", step=again.step, loss=again.loss)
    refusal(lambda: client.train(MODEL, *rows(948, 16), request_id="acceptance-1"))


def delete(client):
    client.delete_model(MODEL)
    refusal(lambda: client.get_model(MODEL))


def main():
    with Client(sys.argv[1], tls_ca=os.environ.get("LAZYNORM_TLS_CA"),
                token=os.environ.get("LAZYNORM_TOKEN")) as client:
        for part in (create, train, predict, evaluate, freeze, errors, retry, delete):
            part(client)
    print("ok")


if __name__ == "__main__":
    main()
