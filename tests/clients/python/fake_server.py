"""A training service in this process that answers as it is told."""

import concurrent.futures

import grpc
from lazynorm import details
from lazynorm.v1 import training_service_pb2, training_service_pb2_grpc

MESSAGES = details._MESSAGES  # pylint: disable=protected-access


def packed(reason, field="", retry_after=None, code=3):
    """The google.rpc.Status of an error, as bytes."""
    def detail(name, **fields):
        message = MESSAGES[name](**fields)
        url = f"type.googleapis.com/{name}"
        return {"type_url": url, "value": message.SerializeToString()}

    found = [detail("google.rpc.ErrorInfo", reason=reason, domain="lazynorm")]
    if field:
        found.append(detail("google.rpc.BadRequest", field_violations=[{"field": field}]))
    if retry_after is not None:
        seconds, fraction = divmod(retry_after, 1)
        delay = {"seconds": int(seconds), "nanos": int(fraction * 1e9)}
        found.append(detail("google.rpc.RetryInfo", retry_delay=delay))
    return MESSAGES["google.rpc.Status"](code=code, details=found).SerializeToString()


class FakeTraining(training_service_pb2_grpc.TrainingServiceServicer):
    """Each request is a step. `failures`, (code, details), are answered first, one by one; a stream breaks
    after each number of answers in `breaks`. Remembers what came in, and the metadata of it."""

    def __init__(self):
        self.failures = []
        self.breaks = []
        self.requests = []
        self.metadata = []
        self._steps = {}

    def Train(self, request, context):
        self.metadata.append(dict(context.invocation_metadata()))
        self.requests.append(request)
        if self.failures:
            code, trailer = self.failures.pop(0)
            context.set_trailing_metadata((("grpc-status-details-bin", trailer),) if trailer else ())
            context.abort(code, "told to fail")
        return self._train(request)

    def TrainStream(self, requests, context):
        left = self.breaks.pop(0) if self.breaks else None
        for request in requests:
            self.requests.append(request)
            answer = self._train(request)
            if left == 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "told to break")
            if left is not None:
                left -= 1
            yield answer

    def _train(self, request):
        replayed = request.request_id in self._steps
        step = self._steps.setdefault(request.request_id, len(self._steps) + 1)
        return training_service_pb2.TrainResponse(step=step, replayed=replayed)


def start(test, credentials=None):
    """(the FakeTraining, its address); it stops with the test."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    service = FakeTraining()
    training_service_pb2_grpc.add_TrainingServiceServicer_to_server(service, server)
    port = (server.add_insecure_port("127.0.0.1:0") if credentials is None
            else server.add_secure_port("127.0.0.1:0", credentials))
    server.start()
    test.addCleanup(lambda: server.stop(None).wait())
    return service, f"127.0.0.1:{port}"
