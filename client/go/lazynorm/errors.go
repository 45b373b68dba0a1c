package lazynorm

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An Error is what the server answered instead of a result, or why it could not be asked. Find it with
// errors.As.
type Error struct {
	Code    codes.Code
	Message string // names the field, what was expected and what was given
	Reason  string // stable, such as "WIDTH_MISMATCH"; "" if the answer is not the server's own
	Field   string // the part of the request at fault, such as "features.values[17]", or ""

	// The server expects the same call to succeed after this time; 0 if it says nothing of it.
	RetryAfter time.Duration

	status *status.Status
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%v: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("%v (%s): %s", e.Code, e.Reason, e.Message)
}

// GRPCStatus is for the functions of gRPC's package status.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// FromRPC reads the error of a call; unary calls have done so already, streams have not. It returns nil
// for nil.
func FromRPC(err error) *Error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	e := &Error{Code: s.Code(), Message: s.Message(), status: s}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = d.Reason
		case *errdetails.BadRequest:
			if len(d.FieldViolations) > 0 {
				e.Field = d.FieldViolations[0].Field
			}
		case *errdetails.RetryInfo:
			delay := d.GetRetryDelay()
			e.RetryAfter = time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
		}
	}
	return e
}

// retryable tells whether the same call may succeed later: the server is away, starting or draining, or
// it was full and said when to come back.
func (e *Error) retryable() bool {
	return e.Code == codes.Unavailable || e.Code == codes.ResourceExhausted && e.RetryAfter > 0
}
