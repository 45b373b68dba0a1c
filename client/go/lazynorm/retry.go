package lazynorm

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	v1 "lazynorm/v1"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// repeatable are the calls that may be sent twice. Train is one of them because of its request_id.
var repeatable = map[string]bool{
	"/lazynorm.v1.TrainingService/Train":           true,
	"/lazynorm.v1.PredictionService/Predict":       true,
	"/lazynorm.v1.PredictionService/Evaluate":      true,
	"/lazynorm.v1.ModelService/GetModel":           true,
	"/lazynorm.v1.ModelService/ListModels":         true,
	"/lazynorm.v1.ModelService/UpdateModel":        true,
	"/lazynorm.v1.ModelService/GetModelState":      true,
	"/lazynorm.v1.ModelService/FreezeStatistics":   true,
	"/lazynorm.v1.ModelService/UnfreezeStatistics": true,
	"/lazynorm.v1.ModelService/ListCheckpoints":    true,
}

// retrying gives calls a deadline, trainings a request_id, errors their type, and tries again.
func retrying(timeout time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply interface{}, conn *grpc.ClientConn,
		invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		if _, has := ctx.Deadline(); !has {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		request = identified(request)
		for pause := firstPause; ; pause = min(2*pause, longestPause) {
			err := FromRPC(invoke(ctx, method, request, reply, conn, options...))
			if err == nil {
				return nil
			}
			if !repeatable[method] || !err.retryable() || !wait(ctx, pause, err.RetryAfter) {
				return err
			}
		}
	}
}

// identified is the request itself, or a copy of a TrainRequest that has no request_id with one.
func identified(request interface{}) interface{} {
	train, ok := request.(*v1.TrainRequest)
	if !ok || train.RequestId != "" {
		return request
	}
	train = proto.Clone(train).(*v1.TrainRequest)
	train.RequestId = NewRequestID()
	return train
}

// NewRequestID is a random UUID: under one request_id a request is trained once, however often it is
// sent.
func NewRequestID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // the system has no randomness
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// wait sleeps for the pause, at random by a fifth more or less so that many clients do not come back in
// one instant, and for no less than the server asks. It is false at once if the deadline is sooner.
func wait(ctx context.Context, pause, atLeast time.Duration) bool {
	pause = time.Duration(float64(pause) * (0.8 + 0.4*mathrand.Float64()))
	if pause < atLeast {
		pause = atLeast
	}
	if deadline, has := ctx.Deadline(); has && time.Until(deadline) <= pause {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func min(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}
