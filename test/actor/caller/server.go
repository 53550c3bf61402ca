package caller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options say what a caller does.
type Options struct {
	// Control is the address of the control port, for example ":9100".
	Control string
	// Loops are the URLs to call from the first moment on, each back to back.
	Loops []string
	// Timeout of each call of a loop.
	Timeout time.Duration
	// Pause between two calls of a loop.
	Pause time.Duration
	// KeepAlive lets a loop reuse its connection.
	KeepAlive bool
	// Until ends [Run] when each loop has had so many successful calls; 0 is never.
	Until int
	// Out receives a line of JSON for each transition, and with Until the last state of all loops.
	Out io.Writer
}

// Loops is the answer to /loops: the state of each loop by its URL.
type Loops struct {
	Loops map[string]State `json:"loops"`
}

// LoopTransition is the line that is written for a transition.
type LoopTransition struct {
	Loop string `json:"loop"`
	Transition
}

// Run runs the loops and the control port until the context ends, or Until is reached; then it
// returns nil. The loops start before anything else is done.
func Run(ctx context.Context, options Options) error {
	if err := options.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := start(ctx, options)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", options.Control)
	if err != nil {
		cancel()
		s.work.Wait()
		return fmt.Errorf("listen for the control port on %q: %w", options.Control, err)
	}
	return s.serve(ctx, cancel, listener, options.Until > 0)
}

func (o Options) check() error {
	var problems []error
	for _, address := range o.Loops {
		problems = append(problems, checkURL(address))
	}
	if o.Timeout <= 0 {
		problems = append(problems, fmt.Errorf("timeout %v: it must be more than 0", o.Timeout))
	}
	if o.Until > 0 && len(o.Loops) == 0 {
		problems = append(problems, errors.New("until: there is no loop whose calls could be counted"))
	}
	return errors.Join(problems...)
}

// server holds the loops.
type server struct {
	loops map[string]*loop
	work  sync.WaitGroup

	mu  sync.Mutex
	out *json.Encoder
}

// start starts the loops.
func start(ctx context.Context, options Options) *server {
	s := &server{loops: map[string]*loop{}, out: json.NewEncoder(options.Out)}
	for _, address := range options.Loops {
		if s.loops[address] != nil {
			continue
		}
		l := newLoop(address, options, s.changed)
		s.loops[address] = l
		s.work.Go(func() { l.run(ctx) })
	}
	return s
}

// serve answers the control port until the context ends or, when that is asked for, the loops have.
func (s *server) serve(
	ctx context.Context,
	cancel context.CancelFunc,
	listener net.Listener,
	untilLoopsEnd bool,
) error {
	control := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = control.Close() })
	defer stop()
	if untilLoopsEnd {
		go func() {
			s.work.Wait()
			cancel()
		}()
	}
	if err := control.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control port: %w", err)
	}
	s.work.Wait()
	if untilLoopsEnd {
		return s.print(s.states())
	}
	return nil
}

func (s *server) changed(address string, transition Transition) {
	_ = s.print(LoopTransition{Loop: address, Transition: transition}) // the loop goes on even if nothing reads
}

func (s *server) print(line any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Encode(line)
}

func (s *server) states() Loops {
	states := Loops{Loops: map[string]State{}}
	for address, l := range s.loops {
		states.Loops[address] = l.snapshot()
	}
	return states
}

// handler serves the control port.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /call", posted(func(ctx context.Context, c *Call) (Results, error) {
		results, err := c.do(ctx)
		return Results{Results: results}, err
	}))
	mux.HandleFunc("POST /raw", posted(func(ctx context.Context, r *Raw) (RawResult, error) { return r.do(ctx) }))
	mux.HandleFunc("POST /grpc", posted(func(ctx context.Context, g *GRPC) (Messages, error) { return g.do(ctx) }))
	mux.HandleFunc("POST /websocket", posted(func(ctx context.Context, w *WebSocket) (Messages, error) {
		return w.do(ctx)
	}))
	mux.HandleFunc("POST /bench", posted(func(ctx context.Context, b *Bench) (BenchResult, error) { return b.do(ctx) }))
	mux.HandleFunc("GET /loops", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.states()) })
	mux.HandleFunc("POST /loops/reset", s.reset)
	mux.HandleFunc("GET /resolve", resolve)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

// posted serves what do makes of a body in JSON.
func posted[Request, Response any](do func(context.Context, *Request) (Response, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked Request
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<20))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&asked); err != nil {
			http.Error(w, "read the request: "+err.Error(), http.StatusBadRequest)
			return
		}
		response, err := do(r.Context(), &asked)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, response)
	}
}

// writeJSON answers 200. An error means that the one who asked is gone.
func writeJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// reset sets the loop of a URL, or all loops when none is named, to its beginning.
func (s *server) reset(w http.ResponseWriter, r *http.Request) {
	address := r.URL.Query().Get("url")
	if address == "" {
		for _, l := range s.loops {
			l.reset()
		}
		writeJSON(w, s.states())
		return
	}
	l, ok := s.loops[address]
	if !ok {
		http.Error(w,
			fmt.Sprintf("no loop calls %q; there are: %s", address, strings.Join(sortedURLs(s.loops), ", ")),
			http.StatusNotFound)
		return
	}
	l.reset()
	writeJSON(w, s.states())
}

// resolve says which addresses a name has for the app.
func resolve(w http.ResponseWriter, r *http.Request) {
	var resolved Resolution
	addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.URL.Query().Get("name"))
	resolved.Addresses = addresses
	if err != nil {
		resolved.Error = err.Error()
	}
	writeJSON(w, resolved)
}
