// Package lazynorm is a client of lazynorm, the model server that learns while it serves.
//
//	client, err := lazynorm.Dial("localhost:50051")
//	...
//	defer client.Close()
//	step, err := client.Training.Train(ctx, &v1.TrainRequest{
//		Model:    "demand",
//		Features: lazynorm.Matrix(features),
//		Targets:  lazynorm.Column(targets),
//	})
//
// The services are those that protoc generates. What this package adds happens below them: deadlines,
// retries that never train twice, and errors that carry the server's reason.
package lazynorm

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	v1 "lazynorm/v1"
)

// A Client is a connection to a server. It is safe for concurrent use.
//
// Errors of unary calls are *Error. Train, Predict, Evaluate and the other calls that may be sent twice
// without harm are tried again, within their context's deadline, while the server is away or says when
// to come back.
type Client struct {
	Models     v1.ModelServiceClient
	Training   v1.TrainingServiceClient
	Prediction v1.PredictionServiceClient

	conn *grpc.ClientConn
}

// An Option changes how Dial connects.
type Option func(*options)

type options struct {
	tls     *tls.Config
	token   string
	timeout time.Duration
}

// WithTLS encrypts; a config with certificates is good for mutual TLS.
func WithTLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// WithToken sends a bearer token with every call. Without TLS, Dial refuses it unless the server is on
// this machine.
func WithToken(token string) Option { return func(o *options) { o.token = token } }

// WithTimeout bounds unary calls whose context has no deadline, all their retries included. Without
// this option it is 30 seconds.
func WithTimeout(timeout time.Duration) Option { return func(o *options) { o.timeout = timeout } }

// Dial prepares a connection to host:port, unix:/path, or any other name that gRPC resolves. All
// addresses behind the name are used in turn. The connection itself is made by the first call.
func Dial(address string, with ...Option) (*Client, error) {
	o := options{timeout: 30 * time.Second}
	for _, option := range with {
		option(&o)
	}
	dial := []grpc.DialOption{
		grpc.WithUnaryInterceptor(retrying(o.timeout)),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1 << 30)), // a model's state may be large
	}
	if o.tls != nil {
		dial = append(dial, grpc.WithTransportCredentials(credentials.NewTLS(o.tls)))
	} else {
		dial = append(dial, grpc.WithInsecure())
	}
	if o.token != "" {
		dial = append(dial, grpc.WithPerRPCCredentials(bearer{o.token, !local(address)}))
	}
	if !strings.Contains(address, "://") && !strings.HasPrefix(address, "unix:") {
		address = "dns:///" + address
	}
	conn, err := grpc.Dial(address, dial...)
	if err != nil {
		return nil, err
	}
	return &Client{
		Models:     v1.NewModelServiceClient(conn),
		Training:   v1.NewTrainingServiceClient(conn),
		Prediction: v1.NewPredictionServiceClient(conn),
		conn:       conn,
	}, nil
}

// Close ends the connection and the calls under way.
func (c *Client) Close() error { return c.conn.Close() }

// Matrix packs rows of equal width. It panics if they are not.
func Matrix(rows [][]float32) *v1.Matrix {
	m := &v1.Matrix{Rows: int32(len(rows))}
	for _, row := range rows {
		if len(row) != len(rows[0]) {
			panic("lazynorm.Matrix: rows of different widths")
		}
		m.Values = append(m.Values, row...)
	}
	if len(rows) > 0 {
		m.Columns = int32(len(rows[0]))
	}
	return m
}

// Column packs one value a row, as the targets of a model with one output. It keeps the slice.
func Column(values []float32) *v1.Matrix {
	return &v1.Matrix{Rows: int32(len(values)), Columns: 1, Values: values}
}

// bearer adds the token to every call.
type bearer struct {
	token    string
	needsTLS bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return b.needsTLS }

func local(address string) bool {
	for _, prefix := range []string{"unix:", "localhost:", "127.", "[::1]:"} {
		if strings.HasPrefix(address, prefix) {
			return true
		}
	}
	return false
}
