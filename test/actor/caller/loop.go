package caller

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"mtls.egress/webhook/test/actor/partner"
)

// loop calls one URL back to back.
type loop struct {
	url     string
	timeout time.Duration
	pause   time.Duration
	// until is after how many successful calls it ends; 0 for never.
	until  int
	client *http.Client
	// changed is told of each transition.
	changed func(url string, transition Transition)

	mu    sync.Mutex
	state State
}

// newLoop makes a loop with a connection pool of its own. It follows no redirect and takes no proxy
// from the environment.
func newLoop(url string, options Options, changed func(string, Transition)) *loop {
	return &loop{
		url: url, timeout: options.Timeout, pause: options.Pause, until: options.Until, changed: changed, state: newState(),
		client: &http.Client{
			Transport: &http.Transport{
				DisableKeepAlives: !options.KeepAlive,
				// A dial goes on when the call that asked for it has given up; without a time of its own they
				// would pile up.
				DialContext: (&net.Dialer{Timeout: options.Timeout}).DialContext,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// run calls until the context ends or enough calls have succeeded.
func (l *loop) run(ctx context.Context) {
	defer l.client.CloseIdleConnections()
	pause := time.NewTicker(max(l.pause, time.Nanosecond))
	defer pause.Stop()
	for succeeded := 0; l.until == 0 || succeeded < l.until; {
		made := l.call(ctx)
		if ctx.Err() != nil {
			return // the call was cut off; that is not its outcome
		}
		l.add(made)
		if made.outcome.Success() {
			succeeded++
		}
		pause.Reset(max(l.pause, time.Nanosecond))
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// call makes one call and reads the whole answer.
func (l *loop) call(ctx context.Context) call {
	made := call{began: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	status, body, err := l.get(ctx)
	made.ended = time.Now()
	made.outcome = outcomeOf(status, err)
	if made.outcome == outcomeOK {
		made.answer = answerOf(body)
	}
	return made
}

func (l *loop) get(ctx context.Context) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := l.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
	}
	return response.StatusCode, body, err
}

// answerOf is what the partner says in the body; nil when it is not the partner's.
func answerOf(body []byte) *answer {
	var said partner.Answer
	if json.Unmarshal(body, &said) != nil || said.Partner == "" {
		return nil
	}
	read := &answer{plain: said.Plain}
	if said.Client != nil {
		read.serial = said.Client.SerialNumber
	}
	return read
}

func (l *loop) add(made call) {
	l.mu.Lock()
	transition := l.state.add(made)
	l.mu.Unlock()
	if transition != nil {
		l.changed(l.url, *transition)
	}
}

// snapshot is the state now.
func (l *loop) snapshot() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.clone()
}

// reset forgets everything.
func (l *loop) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = newState()
}
