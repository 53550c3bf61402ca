package webhookport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// A client that forges requests controls their content and number.
func TestForgedRequestsWriteLittle(t *testing.T) {
	const requests = 3 * linesAtOnce
	long := strings.Repeat("\u001bx", 100_000)
	var log bytes.Buffer
	a, err := NewAdmission(&admission.Webhook{
		Handler: admission.HandlerFunc(func(ctx context.Context, request admission.Request) admission.Response {
			logf.FromContext(
				ctx).Error(errors.New(string(request.Object.Raw)), "admission", "operation", request.Operation, "kind",
				request.Kind.Kind)
			return admission.Denied("no")
		}),
	}, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	logf.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(&log, nil)))
	quoted := strings.ReplaceAll(long, "\u001b", `\u001b`)
	forged := review(
		fmt.Sprintf(
			`{"uid":"1","namespace":"project","operation":"CREATE","kind":{"kind":"Pod"},"resource":{"group":%q,`+
				`"version":%[1]q,"resource":%[1]q},"userInfo":{"username":%[1]q},"object":{"a":%[1]q}}`,
			"LONG",
		),
	)
	forged = strings.ReplaceAll(forged, "LONG", quoted)
	small := review(`{"uid":"1","namespace":"project","operation":"CREATE","kind":{"kind":"Pod"},"object":{}}`)
	ask := func(body, source string) int {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mutate", strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		request.RemoteAddr = source + ":1234"
		recorder := httptest.NewRecorder()
		a.ServeHTTP(recorder, request)
		return recorder.Code
	}
	if status := ask(forged, "192.0.2.1"); status != http.StatusOK {
		t.Fatalf("the status is %d", status)
	}
	if most := 20 * maxLogged; log.Len() > most || !strings.Contains(log.String(), `"msg":"admission"`) {
		t.Errorf("one line has %d bytes, want at most %d: %.500s", log.Len(), most, log.String())
	}
	for range requests {
		ask(small, "192.0.2.1")
	}
	// During the test, the limiter also allows linesPerSecond.
	if written := strings.Count(log.String(), "\n"); written < linesAtOnce || written > 2*linesAtOnce ||
		int(testutil.ToFloat64(a.lines.dropped))+written != requests+1 {
		t.Errorf("%d lines written for %d requests, %g counted as dropped", written, requests,
			testutil.ToFloat64(a.lines.dropped))
	}
	log.Reset()
	ask(small, "192.0.2.2")
	if strings.Count(log.String(), "\n") != 1 {
		t.Error("want one line from another source")
	}
}
