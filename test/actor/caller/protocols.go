package caller

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"mtls.egress/webhook/test/actor/partner"
)

// protocolTimeout bounds what follows, unless it says otherwise.
const protocolTimeout = 10 * time.Second

// Raw asks to send bytes on a new TCP connection.
type Raw struct {
	// Address is a host and a port.
	Address string `json:"address"`
	Send    string `json:"send"`
	// Timeout, default 10s.
	Timeout Duration `json:"timeout,omitzero"`
}

// RawResult is what came back.
type RawResult struct {
	// Received is cut at 64 KiB.
	Received string `json:"received"`
	// Error is why nothing more came. It is empty after the other side closed the connection.
	Error string `json:"error,omitempty"`
}

func (r *Raw) do(ctx context.Context) (RawResult, error) {
	timeout := time.Duration(r.Timeout)
	if timeout <= 0 {
		timeout = protocolTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Address)
	if err != nil {
		return RawResult{Error: err.Error()}, nil
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(timeout)); err != nil {
		return RawResult{}, err
	}
	var result RawResult
	// A server may answer, and close, before it has read all: what it said counts.
	_, sendErr := io.WriteString(connection, r.Send)
	received, err := io.ReadAll(io.LimitReader(connection, maxBody))
	result.Received = string(received)
	if err == nil && len(received) == 0 {
		err = sendErr
	}
	if err != nil {
		result.Error = err.Error()
	}
	return result, nil
}

// GRPC asks for calls of the partner's gRPC service, one by one and then in one stream.
type GRPC struct {
	// Target as gRPC names it, such as dns:///external.system.com:80.
	Target   string   `json:"target"`
	Messages []string `json:"messages"`
}

// WebSocket asks for messages to be sent through a WebSocket, and waits for one after each.
type WebSocket struct {
	URL      string   `json:"url"`
	Messages []string `json:"messages"`
}

// Messages are those that came back.
type Messages struct {
	Unary    []string `json:"unary,omitempty"`
	Streamed []string `json:"streamed,omitempty"`
	// Error is why there are no more.
	Error string `json:"error,omitempty"`
}

func (g *GRPC) do(ctx context.Context) (messages Messages, err error) {
	ctx, cancel := context.WithTimeout(ctx, protocolTimeout)
	defer cancel()
	connection, err := grpc.NewClient(g.Target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return messages, err
	}
	defer func() { _ = connection.Close() }()
	if err := g.exchange(ctx, connection, &messages); err != nil {
		messages.Error = err.Error()
	}
	return messages, nil
}

func (g *GRPC) exchange(ctx context.Context, connection *grpc.ClientConn, messages *Messages) error {
	for _, message := range g.Messages {
		received := &wrapperspb.StringValue{}
		if err := connection.Invoke(ctx, partner.UnaryMethod, wrapperspb.String(message), received); err != nil {
			return fmt.Errorf("unary: %w", err)
		}
		messages.Unary = append(messages.Unary, received.GetValue())
	}
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		partner.StreamMethod)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	for _, message := range g.Messages {
		received := &wrapperspb.StringValue{}
		if err := stream.SendMsg(wrapperspb.String(message)); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		if err := stream.RecvMsg(received); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		messages.Streamed = append(messages.Streamed, received.GetValue())
	}
	return stream.CloseSend()
}

func (s *WebSocket) do(ctx context.Context) (messages Messages, err error) {
	config, err := websocket.NewConfig(s.URL, "http://app.example")
	if err != nil {
		return messages, err
	}
	config.Dialer = &net.Dialer{Timeout: protocolTimeout}
	if err := s.exchange(ctx, config, &messages); err != nil {
		messages.Error = err.Error()
	}
	return messages, nil
}

func (s *WebSocket) exchange(ctx context.Context, config *websocket.Config, messages *Messages) error {
	connection, err := config.DialContext(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(protocolTimeout)); err != nil {
		return err
	}
	for _, message := range s.Messages {
		var received string
		if err := websocket.Message.Send(connection, message); err != nil {
			return err
		}
		if err := websocket.Message.Receive(connection, &received); err != nil {
			return err
		}
		messages.Streamed = append(messages.Streamed, received)
	}
	return nil
}
