package partner

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// controlHandler serves /connections and /summary, both with the parameters of a [Filter], and
// /healthz.
func (s *Server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /connections", filtered(s.book.connections))
	mux.HandleFunc("GET /summary", filtered(s.book.summary))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

// filtered serves what ask finds.
func filtered[T any](ask func(Filter) T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		filter, err := filterOf(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, http.StatusOK, ask(filter))
	}
}

// Client asks a partner's control port what it has seen.
type Client struct {
	// Get fetches a path with its query from the control port, by whatever way leads there, and
	// returns the body of an answer 200.
	Get func(ctx context.Context, path string) ([]byte, error)
}

// Connections are those that match. It is an error when the partner had to forget some, or can't
// say of one whether it matches.
func (c Client) Connections(ctx context.Context, filter Filter) ([]Connection, error) {
	var answer Connections
	if err := c.get(ctx, "/connections", filter, &answer); err != nil {
		return nil, err
	}
	return answer.Connections, complete(filter, answer.Dropped, answer.Undecided)
}

// Summary counts the connections that match. It is an error when the partner had to forget some, or
// can't say of one whether it matches.
func (c Client) Summary(ctx context.Context, filter Filter) (Summary, error) {
	var answer Summary
	if err := c.get(ctx, "/summary", filter, &answer); err != nil {
		return Summary{}, err
	}
	return answer, complete(filter, answer.Dropped, answer.Undecided)
}

func (c Client) get(ctx context.Context, path string, filter Filter, answer any) error {
	if query := filter.query(); len(query) > 0 {
		path += "?" + query.Encode()
	}
	body, err := c.Get(ctx, path)
	if err != nil {
		return fmt.Errorf("ask the partner for %s: %w", path, err)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("read the partner's answer to %s: %w", path, err)
	}
	return nil
}

// complete refuses an answer that does not tell all: a count of zero would be no proof.
func complete(filter Filter, dropped int64, undecided int) error {
	if dropped > 0 {
		return fmt.Errorf(
			"the partner has forgotten %d connections to make room: no count is complete any more, start it anew",
			dropped,
		)
	}
	if undecided > 0 {
		return fmt.Errorf(
			"the partner can't say of %d connections whether they carried %q: ask for a path of at most two segments, "+
				"and call no more than %d of them on a connection",
			undecided, filter.Path, maxPaths,
		)
	}
	return nil
}
