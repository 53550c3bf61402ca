package check

import "mtls.egress/webhook/internal/manifests"

// NewWorld returns the objects of the documents, as the rules see them. Other commands read
// hand-written objects with it.
func NewWorld(documents []manifests.Document, options manifests.Options) *World {
	return newWorld(documents, options)
}
