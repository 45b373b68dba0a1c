// The scenario of ../../README.md: acceptance ADDRESS.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"reflect"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"lazynorm"
	v1 "lazynorm/v1"
)

const model = "acceptance-go"

var ctx = context.Background()

// rows are features and targets: quarters and sixteenths, which float32 holds exactly.
func rows(first, count int) ([][]float32, []float32) {
	var x [][]float32
	var y []float32
	for n := first; n < first+count; n++ {
		a, b, c := float32(n*7%11-5)/4, float32(n*5%13-6)/4, float32(n*3%17-8)/4
		x = append(x, []float32{a, b, c})
		y = append(y, a-2*b+a*c)
	}
	return x, y
}

func trainRequest(first, count int, id string) *v1.TrainRequest {
	x, y := rows(first, count)
	return &v1.TrainRequest{Model: model, Features: lazynorm.Matrix(x), Targets: lazynorm.Column(y), RequestId: id}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func check(condition bool, expected string) {
	if !condition {
		log.Fatal("expected ", expected)
	}
}

func create(client *lazynorm.Client) {
	_, err := client.Models.DeleteModel(ctx, &v1.DeleteModelRequest{Model: model}) // of an earlier run
	var refused *lazynorm.Error
	check(err == nil || errors.As(err, &refused) && refused.Code == codes.NotFound, "no model")
	created, err := client.Models.CreateModel(ctx, &v1.CreateModelRequest{
		ModelId: model,
		Spec: &v1.ModelSpec{
			Mlp:       &v1.Mlp{Hidden: []int32{16}},
			Optimizer: &v1.Optimizer{Kind: &v1.Optimizer_Adam{Adam: &v1.Adam{Lr: proto.Float64(0.01)}}},
			Seed:      7,
		},
	})
	must(err)
	check(created.State == v1.State_STATE_LAZY, "a lazy model")
	fmt.Printf("create step=%d\n", created.Step)
}

func train(client *lazynorm.Client) {
	var first, last *v1.TrainResponse
	for k := 0; k < 50; k++ {
		step, err := client.Training.Train(ctx, trainRequest(16*k, 16, ""))
		must(err)
		check(step.Step == int64(k+1), "one step more")
		if first == nil {
			first = step
		}
		last = step
	}
	check(last.PrequentialLoss < first.PrequentialLoss, "a loss that falls")
	fmt.Printf("train step=%d loss=%.6f prequential_loss=%.6f\n", last.Step, last.Loss, last.PrequentialLoss)
}

func predict(client *lazynorm.Client) {
	x, _ := rows(800, 3)
	answer, err := client.Prediction.Predict(ctx,
		&v1.PredictRequest{Model: model, Features: lazynorm.Matrix(x), MinStep: 50})
	must(err)
	check(answer.Predictions.Rows == 3 && answer.Predictions.Columns == 1, "3 rows of 1 prediction")
	var values []string
	for _, value := range answer.Predictions.Values {
		values = append(values, fmt.Sprintf("%.6f", value))
	}
	fmt.Printf("predict step=%d values=%s\n", answer.Step, strings.Join(values, ","))
}

func evaluate(client *lazynorm.Client) {
	x, y := rows(800, 100)
	features := lazynorm.Matrix(x)
	evaluation, err := client.Prediction.Evaluate(ctx,
		&v1.EvaluateRequest{Model: model, Features: features, Targets: lazynorm.Column(y)})
	must(err)
	answer, err := client.Prediction.Predict(ctx, &v1.PredictRequest{Model: model, Features: features})
	must(err)
	var sum float64
	for i, value := range answer.Predictions.Values {
		difference := float64(value) - float64(y[i])
		sum += difference * difference
	}
	check(math.Abs(evaluation.Loss-sum/100) < 1e-5*evaluation.Loss, "the mean squared error")
	fmt.Printf("evaluate rows=%d loss=%.6f r2=%.6f\n", evaluation.Rows, evaluation.Loss, evaluation.GetR2())
}

// statistics are the running statistics by name, and the first weights.
func statistics(client *lazynorm.Client) (map[string]string, []float32) {
	state, err := client.Models.GetModelState(ctx, &v1.GetModelStateRequest{Model: model})
	must(err)
	running := map[string]string{}
	var weight []float32
	for _, tensor := range state.Tensors {
		if strings.Contains(tensor.Name, "running_") || strings.HasSuffix(tensor.Name, "num_batches_tracked") {
			running[tensor.Name] = fmt.Sprint(tensor.Values, tensor.Int64Values)
		} else if tensor.Name == "0.weight" {
			weight = tensor.Values
		}
	}
	check(len(running) == 3, "3 running statistics")
	return running, weight
}

func freeze(client *lazynorm.Client) {
	frozen, err := client.Models.FreezeStatistics(ctx, &v1.FreezeStatisticsRequest{Model: model})
	must(err)
	check(frozen.StatisticsFrozen, "frozen statistics")
	before, weightBefore := statistics(client)
	still, err := client.Training.Train(ctx, trainRequest(900, 16, ""))
	must(err)
	after, weightAfter := statistics(client)
	check(reflect.DeepEqual(before, after), "statistics unchanged")
	check(!reflect.DeepEqual(weightBefore, weightAfter), "weights that go on learning")
	unfrozen, err := client.Models.UnfreezeStatistics(ctx, &v1.UnfreezeStatisticsRequest{Model: model})
	must(err)
	check(!unfrozen.StatisticsFrozen, "statistics unfrozen")
	moving, err := client.Training.Train(ctx, trainRequest(916, 16, ""))
	must(err)
	moved, _ := statistics(client)
	check(!reflect.DeepEqual(after, moved), "statistics that move again")
	fmt.Printf("freeze step=%d frozen_loss=%.6f loss=%.6f\n", moving.Step, still.Loss, moving.Loss)
}

func refusal(err error) {
	var refused *lazynorm.Error
	check(errors.As(err, &refused), "an error")
	field := refused.Field
	if field == "" {
		field = "-"
	}
	fmt.Printf("error code=%s reason=%s field=%s\n", codeNames[refused.Code], refused.Reason, field)
}

// codeNames are the canonical names; Go's own differ.
var codeNames = map[codes.Code]string{
	codes.InvalidArgument: "INVALID_ARGUMENT",
	codes.NotFound:        "NOT_FOUND",
}

func refusals(client *lazynorm.Client) {
	for _, wrong := range []struct {
		model string
		row   []float32
	}{
		{model, []float32{0, 0}},
		{model, []float32{0, float32(math.NaN()), 0}},
		{"no-such-model", []float32{0, 0, 0}},
	} {
		_, err := client.Prediction.Predict(ctx,
			&v1.PredictRequest{Model: wrong.model, Features: lazynorm.Matrix([][]float32{wrong.row})})
		refusal(err)
	}
}

func retry(client *lazynorm.Client) {
	first, err := client.Training.Train(ctx, trainRequest(932, 16, "acceptance-1"))
	must(err)
	again, err := client.Training.Train(ctx, trainRequest(932, 16, "acceptance-1"))
	must(err)
	check(again.Replayed && again.Step == first.Step && again.Loss == first.Loss, "the first answer again")
	now, err := client.Models.GetModel(ctx, &v1.GetModelRequest{Model: model})
	must(err)
	check(now.Step == first.Step, "no further step")
	fmt.Printf("retry step=%d loss=%.6f\n", again.Step, again.Loss)
	_, err = client.Training.Train(ctx, trainRequest(948, 16, "acceptance-1"))
	refusal(err)
}

func remove(client *lazynorm.Client) {
	_, err := client.Models.DeleteModel(ctx, &v1.DeleteModelRequest{Model: model})
	must(err)
	_, err = client.Models.GetModel(ctx, &v1.GetModelRequest{Model: model})
	refusal(err)
}

func options() []lazynorm.Option {
	var with []lazynorm.Option
	if token := os.Getenv("LAZYNORM_TOKEN"); token != "" {
		with = append(with, lazynorm.WithToken(token))
	}
	if path := os.Getenv("LAZYNORM_TLS_CA"); path != "" {
		pem, err := os.ReadFile(path)
		must(err)
		roots := x509.NewCertPool()
		check(roots.AppendCertsFromPEM(pem), "PEM certificates in "+path)
		with = append(with, lazynorm.WithTLS(&tls.Config{RootCAs: roots}))
	}
	return with
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("acceptance: ")
	if len(os.Args) != 2 {
		log.Fatal("usage: acceptance ADDRESS")
	}
	client, err := lazynorm.Dial(os.Args[1], options()...)
	must(err)
	defer client.Close()
	create(client)
	train(client)
	predict(client)
	evaluate(client)
	freeze(client)
	refusals(client)
	retry(client)
	remove(client)
	fmt.Println("ok")
}
