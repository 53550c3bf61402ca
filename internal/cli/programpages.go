package cli

import (
	"context"
	"time"

	"github.com/go-logr/logr"
)

// When the pages of the program are given up: when a replica has started, and from time to time, as others come with each that is used once.
const (
	firstProgramPages = time.Minute
	everyProgramPages = 2 * time.Minute
)

// programPages keeps out of the process's memory what is read at the start of the program only. The file of a Go program with the types of Kubernetes takes more memory than all that
// a replica has made itself, and a sixth of it is in use once it runs. A page that is needed again is still in the cache of the kernel, which maps it again. It is a runnable of a manager.
type programPages struct {
	release      func() error
	first, every time.Duration
	log          logr.Logger
}

// Start is part of manager.Runnable.
func (p *programPages) Start(ctx context.Context) error {
	for pause := p.first; ; pause = p.every {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if err := p.release(); err != nil {
			p.log.Info("The pages of the program stay in memory, though they are not in use", "error", err.Error())
			return nil
		}
	}
}
