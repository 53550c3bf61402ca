package webhookport

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	// linesPerSecond and linesAtOnce limit the log lines of requests from one source. An API server
	// that creates hundreds of Pods at once stays below the limit.
	linesPerSecond, linesAtOnce = 100, 1000
	// maxSources is the maximum number of tracked sources. Above it, all limiters are reset.
	maxSources = 10_000
	// maxLogged is the maximum number of bytes of a request's text that are logged.
	maxLogged = 256
)

// lines limits what requests write to the log, because any client that reaches the port can forge
// requests with arbitrary content.
type lines struct {
	dropped prometheus.Counter

	mu       sync.Mutex
	bySource map[string]*rate.Limiter
}

// sourceOf returns the host of an address in the form HOST:PORT.
func sourceOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// sourceKey is the context key of a request's source.
type sourceKey struct{}

// limiter returns the limiter of a source.
func (l *lines) limiter(source string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.bySource[source]
	if own == nil {
		if len(l.bySource) >= maxSources {
			clear(l.bySource)
		}
		own = rate.NewLimiter(linesPerSecond, linesAtOnce)
		l.bySource[source] = own
	}
	return own
}

// bound returns a handler whose log is limited.
func (l *lines) bound(handler admission.Handler) admission.Handler {
	return admission.HandlerFunc(func(ctx context.Context, request admission.Request) admission.Response {
		source, _ := ctx.Value(sourceKey{}).(string)
		log := logf.FromContext(ctx)
		sink := &boundedSink{LogSink: log.GetSink(), limiter: l.limiter(source), dropped: l.dropped}
		return handler.Handle(logf.IntoContext(ctx, log.WithSink(sink)), request)
	})
}

// requestLog adds the request to log lines like admission.DefaultLogConstructor, but with bounded
// values.
func requestLog(base logr.Logger, request *admission.Request) logr.Logger {
	if request == nil {
		return base
	}
	resource := metav1.GroupVersionResource{
		Group:    excerpt(request.Resource.Group),
		Version:  excerpt(request.Resource.Version),
		Resource: excerpt(request.Resource.Resource),
	}
	return base.WithValues("object", klog.KRef(request.Namespace, request.Name), "namespace", request.Namespace, "name",
		request.Name, "resource", resource, "user", excerpt(request.UserInfo.Username), "requestID", request.UID)
}

// excerpt returns the start of a text from a client.
func excerpt(text string) string {
	if len(text) <= maxLogged {
		return text
	}
	return strings.ToValidUTF8(text[:maxLogged], "") + "…"
}

// boundedSink drops lines above the limit and truncates long errors. Decoder errors repeat the
// input.
type boundedSink struct {
	logr.LogSink
	limiter *rate.Limiter
	dropped prometheus.Counter
}

func (s *boundedSink) allowed() bool {
	if s.limiter.Allow() {
		return true
	}
	s.dropped.Inc()
	return false
}

// Info implements logr.LogSink.
func (s *boundedSink) Info(level int, message string, values ...any) {
	if s.allowed() {
		s.LogSink.Info(level, message, values...)
	}
}

// Error implements logr.LogSink.
func (s *boundedSink) Error(err error, message string, values ...any) {
	if !s.allowed() {
		return
	}
	if err != nil && len(err.Error()) > maxLogged {
		err = errors.New(excerpt(err.Error()))
	}
	s.LogSink.Error(err, message, values...)
}

// WithValues implements logr.LogSink.
func (s *boundedSink) WithValues(values ...any) logr.LogSink {
	return &boundedSink{s.LogSink.WithValues(values...), s.limiter, s.dropped}
}

// WithName implements logr.LogSink.
func (s *boundedSink) WithName(name string) logr.LogSink {
	return &boundedSink{s.LogSink.WithName(name), s.limiter, s.dropped}
}
