package caller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// Results is the answer to /call.
type Results struct {
	Results []Result `json:"results"`
}

// Resolution is the answer to /resolve.
type Resolution struct {
	Addresses []string `json:"addresses"`
	// Error is why there are none.
	Error string `json:"error,omitempty"`
}

// Client talks to a caller's control port.
type Client struct {
	// Do sends a body, nil for none, to a path of the control port with its query, by whatever way
	// leads there, and returns the body of an answer 200.
	Do func(ctx context.Context, method, path string, body []byte) ([]byte, error)
}

// Call makes calls; the results are in the order in which they began. An answer with an error
// status is a result, not an error.
func (c Client) Call(ctx context.Context, calls Call) ([]Result, error) {
	answer, err := post[Results](ctx, c, "/call", calls)
	return answer.Results, err
}

// post sends content to the path, and returns the answer.
func post[T any](ctx context.Context, c Client, path string, content any) (answer T, err error) {
	err = c.exchange(ctx, http.MethodPost, path, content, &answer)
	return answer, err
}

// Raw sends bytes, and returns what came back.
func (c Client) Raw(ctx context.Context, raw Raw) (RawResult, error) {
	return post[RawResult](ctx, c, "/raw", raw)
}

// GRPC calls a gRPC service, and returns what came back. A failed call is a result, not an error.
func (c Client) GRPC(ctx context.Context, calls GRPC) (Messages, error) {
	return post[Messages](ctx, c, "/grpc", calls)
}

// WebSocket sends messages through a WebSocket, and returns what came back.
func (c Client) WebSocket(ctx context.Context, socket WebSocket) (Messages, error) {
	return post[Messages](ctx, c, "/websocket", socket)
}

// Bench makes load and returns when it is over.
func (c Client) Bench(ctx context.Context, load Bench) (BenchResult, error) {
	return post[BenchResult](ctx, c, "/bench", load)
}

// Loops are the states of the loops by URL.
func (c Client) Loops(ctx context.Context) (map[string]State, error) {
	var answer Loops
	err := c.exchange(ctx, http.MethodGet, "/loops", nil, &answer)
	return answer.Loops, err
}

// Loop is the state of one loop; a URL that no loop calls is an error.
func (c Client) Loop(ctx context.Context, address string) (State, error) {
	states, err := c.Loops(ctx)
	if err != nil {
		return State{}, err
	}
	state, ok := states[address]
	if !ok {
		return State{}, fmt.Errorf("the caller has no loop for %q; it has %q", address, sortedURLs(states))
	}
	return state, nil
}

// ResetLoop lets the loop of a URL, or all when it is empty, count from zero.
func (c Client) ResetLoop(ctx context.Context, address string) error {
	path := "/loops/reset"
	if address != "" {
		path += "?" + url.Values{"url": {address}}.Encode()
	}
	return c.exchange(ctx, http.MethodPost, path, nil, &Loops{})
}

// Resolve are the addresses that a name has for the app.
func (c Client) Resolve(ctx context.Context, name string) (Resolution, error) {
	var answer Resolution
	err := c.exchange(ctx, http.MethodGet, "/resolve?"+url.Values{"name": {name}}.Encode(), nil, &answer)
	return answer, err
}

func (c Client) exchange(ctx context.Context, method, path string, request, answer any) error {
	var body []byte
	if request != nil {
		encoded, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("write the request to the caller's %s: %w", path, err)
		}
		body = encoded
	}
	received, err := c.Do(ctx, method, path, body)
	if err != nil {
		return fmt.Errorf("ask the caller for %s: %w", path, err)
	}
	if err := json.Unmarshal(received, answer); err != nil {
		return fmt.Errorf("read the caller's answer to %s: %w", path, err)
	}
	return nil
}

func sortedURLs[V any](byURL map[string]V) []string {
	return slices.Sorted(maps.Keys(byURL))
}
