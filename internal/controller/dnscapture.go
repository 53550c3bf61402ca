package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// dnsCapture is what is known of whether sidecars answer DNS. What was last known holds while the mesh configuration can't be
// read. Nothing is known at the start, but the generated ServiceEntries still say what was known when they were written: a
// restart, with or without a readable configuration, takes no app port away that the Pods of a namespace need.
type dnsCapture struct {
	// programmed reads from the generated ServiceEntries whether they were written with DNS capture.
	programmed func(context.Context) (bool, error)

	mutex sync.Mutex
	// known is false until the mesh configuration was read, or somebody wanted to know.
	known bool
	on    bool
	// problem says why the mesh configuration can't be read, "" when it can.
	problem string
}

// notReadYet is the problem of a mesh configuration that nobody has looked for yet.
const notReadYet = "the mesh configuration has not been read yet"

func newDNSCapture(programmed func(context.Context) (bool, error)) *dnsCapture {
	return &dnsCapture{programmed: programmed, problem: notReadYet}
}

// fixedDNSCapture is for a setting that wins over the mesh configuration.
func fixedDNSCapture(on bool) *dnsCapture {
	return &dnsCapture{known: true, on: on}
}

// options returns what targets are to be programmed with.
func (d *dnsCapture) options(ctx context.Context) (mesh.Options, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if !d.known {
		on, err := d.programmed(ctx)
		if err != nil {
			return mesh.Options{}, err
		}
		d.known, d.on = true, on
	}
	return mesh.Options{DNSCapture: d.on}, nil
}

// learn takes what the mesh configuration says. It returns whether targets may have been programmed with something else, and
// whether there is anything to tell.
func (d *dnsCapture) learn(on bool) (changed, news bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	changed = d.known && d.on != on
	news = changed || d.problem != ""
	d.known, d.on, d.problem = true, on, ""
	return changed, news
}

// fail takes why the mesh configuration can't be read, and returns whether that is news.
func (d *dnsCapture) fail(err error) (news bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	news = d.problem != err.Error()
	d.problem = err.Error()
	return news
}

// state returns what is known, and whether the mesh configuration can be read.
func (d *dnsCapture) state() (on, known, readable bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.on, d.known, d.problem == ""
}

// dnsCaptureOf reads the ConfigMap with the mesh configuration; nil is one that doesn't exist.
func dnsCaptureOf(configMap *corev1.ConfigMap) (bool, error) {
	if configMap == nil {
		return false, errors.New("the ConfigMap doesn't exist")
	}
	text, found := configMap.Data[mesh.MeshConfigKey]
	if !found {
		return false, fmt.Errorf("the ConfigMap has no key %s", mesh.MeshConfigKey)
	}
	return mesh.DNSCapture(text)
}

// programmedWithDNSCapture says whether any generated ServiceEntry was written with DNS capture. A controller that ended
// before it had written all of them leaves both kinds.
func programmedWithDNSCapture(ctx context.Context, cache client.Reader) (bool, error) {
	for serviceEntry, err := range cachedIstioObjects(ctx, cache, mesh.KindServiceEntry, client.MatchingLabels{target.LabelManagedBy: target.ValueManagedBy}) {
		if err != nil {
			return false, fmt.Errorf("list the generated ServiceEntries: %w", err)
		}
		if isTargetObject(serviceEntry) && mesh.OpensAppPort(serviceEntry) {
			return true, nil
		}
	}
	return false, nil
}
