package app

import (
	"errors"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// reported wraps check and logs every change of its result with the reason. The probe response is
// readable by anyone, so it names the failing checks but not the reason.
func reported(log logr.Logger, name string, check healthz.Checker) healthz.Checker {
	var mu sync.Mutex
	last := "unknown"
	return func(request *http.Request) error {
		err := check(request)
		outcome := ""
		if err != nil {
			outcome = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		if outcome == last {
			return err
		}
		last = outcome
		if err != nil {
			log.Info("Not ready", "check", name, "reason", outcome)
		} else {
			log.Info("Ready", "check", name)
		}
		return err
	}
}

// synced returns a readiness check for a cache that holds what.
func synced(what string, hasSynced func() bool) healthz.Checker {
	return func(*http.Request) error {
		if !hasSynced() {
			return errors.New(
				what + " have not been read yet: the service account must be allowed to list and watch them")
		}
		return nil
	}
}
