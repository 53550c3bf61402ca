package app

import (
	"errors"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// reported is check that logs when its outcome changes, with the reason: a probe's answer names the
// checks that fail, but for everybody to read it withholds why.
func reported(log logr.Logger, name string, check healthz.Checker) healthz.Checker {
	var mu sync.Mutex
	last := "not asked yet"
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

// synced is a readiness check of a cache; what names what it holds.
func synced(what string, hasSynced func() bool) healthz.Checker {
	return func(*http.Request) error {
		if !hasSynced() {
			return errors.New(what + " have not been read yet: the service account must be allowed to list and watch them")
		}
		return nil
	}
}
