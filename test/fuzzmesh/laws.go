package fuzzmesh

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/mesh"
)

// The laws. Each is the sentence that says how a world breaks it.
const (
	lawProgrammed = "a call to the sinkhole address leaves a programmed target without our TLS, and no conflict closes it"
	lawWritten    = "a call to the sinkhole address leaves a target between two states " +
		"without our TLS, and no conflict closes it"
	lawPast = "a call past the sinkhole leaves a target with anchor and VirtualService without our TLS, " +
		"and no conflict says so"
	lawClosed   = "a call to the sinkhole address leaves a closed target without our TLS"
	lawWorks    = "a call of a programmed target doesn't reach the partner over our TLS, and no conflict says so"
	lawOwnTLS   = "the app's own https of a programmed target doesn't reach the partner as it is, and no conflict says so"
	lawNeighbor = "a neighbor's call ends otherwise than without us"
	lawAnchor   = "a neighbor's call on an app port ends otherwise than without us, by the anchor alone"
	lawOther    = "a caller's call to the host of another target ends otherwise than without us"
)

// Finding is a law that a world breaks, and the call that shows it.
type Finding struct {
	Law    string
	Target Target
	Pod    string
	Call   Call
	Ends   []End
	// Before are the ends of the call without our objects, where the law compares.
	Before []End
}

func (f Finding) String() string {
	lines := []string{fmt.Sprintf("%s: %s: %s", f.Law, f.Pod, f.Call)}
	for _, end := range f.Ends {
		lines = append(lines, "  "+end.String())
	}
	for _, end := range f.Before {
		lines = append(lines, "  without us: "+end.String())
	}
	return strings.Join(lines, "\n")
}

// same reports whether both break the law in the same way.
func (f Finding) same(other Finding) bool {
	return f.Law == other.Law && f.Pod == other.Pod && f.Call.Scheme == other.Call.Scheme &&
		f.Call.Host == other.Call.Host && f.Call.Port == other.Call.Port
}

// count is what was looked at.
type count struct {
	Worlds, Calls, Closed int
}

func (c *count) add(other count) {
	c.Worlds += other.Worlds
	c.Calls += other.Calls
	c.Closed += other.Closed
}

// judge returns what breaks the laws in w.
func judge(t *testing.T, w World, counted *count) []Finding {
	j := &judgment{t: t, world: w, counted: counted}
	counted.Worlds++
	with := start(t, w)
	for _, target := range w.Targets {
		j.caller(target, with)
	}
	j.neighbors(with)
	return j.findings
}

type judgment struct {
	t        *testing.T
	world    World
	counted  *count
	findings []Finding
}

func (j *judgment) ends(s *sidecar, call Call) []End {
	j.counted.Calls++
	return s.ends(call)
}

func (j *judgment) found(law string, t Target, s *sidecar, call Call, ends, before []End) {
	j.findings = append(j.findings, Finding{Law: law, Target: t, Pod: s.pod.Name, Call: call, Ends: ends,
		Before: before})
}

// caller tries the calls of a Pod of t.
func (j *judgment) caller(t Target, with control) {
	s := with.sidecar(caller(t))
	conflicts := j.world.conflicts(t)
	closes := slices.ContainsFunc(conflicts, closing)
	if closes {
		j.counted.Closed++
		j.closed(t)
	}
	said := slices.ContainsFunc(conflicts, func(c mesh.Conflict) bool { return c.Effect != mesh.HiddenByOurs })
	complete := j.world.complete(t)
	for _, call := range sinkholeCalls(t) {
		ends := j.ends(s, call)
		plain := !all(ends, func(end End) bool { return safe(t, end) })
		switch {
		case plain && complete && !closes:
			j.found(lawProgrammed, t, s, call, ends, nil)
		case plain && !closes:
			j.found(lawWritten, t, s, call, ends, nil)
		case complete && !said && !all(ends, func(end End) bool { return reaches(t, end) }):
			j.found(lawWorks, t, s, call, ends, nil)
		}
	}
	for _, call := range httpCalls(t, s.resolve(t.Host+".")) {
		if ends := j.ends(s, call); !said && j.world.routed(t) && !all(ends, func(end End) bool {
			return safe(t,
				end)
		}) {
			j.found(lawPast, t, s, call, ends, nil)
		}
	}
	for _, address := range t.AllAddresses() {
		own := Call{Scheme: "https", Address: address.String(), Port: int(t.Port), Host: t.Host}
		ends := j.ends(s, own)
		passes := func(end End) bool { return end.TLS == nil && goesTo(t, end) }
		if complete && !said && !all(ends, passes) {
			j.found(lawOwnTLS, t, s, own, ends, nil)
		}
	}
}

// sinkholeCalls are the calls of an app to http://host from Pods of every age.
func sinkholeCalls(t Target) []Call {
	var calls []Call
	for _, address := range t.AllAddresses() {
		calls = append(calls, httpCalls(t, address.String())...)
	}
	return calls
}

// closed tries the calls of a Pod of t after the controller has closed t.
func (j *judgment) closed(t Target) {
	s := start(j.t, j.world.closedFor(t)).sidecar(caller(t))
	for _, call := range sinkholeCalls(t) {
		if ends := j.ends(s, call); !all(ends, func(end End) bool { return safe(t, end) }) {
			j.found(lawClosed, t, s, call, ends, nil)
		}
	}
}

// httpCalls are the calls of an app to http://host, with the host in all the ways in which apps
// write it.
func httpCalls(t Target, address string) []Call {
	var calls []Call
	for _, host := range []string{t.Host, strings.ToUpper(t.Host), t.Host + ".", fmt.Sprintf("%s:%d", t.Host,
		t.AppPort), fmt.Sprintf("%s.:%d", t.Host, t.AppPort)} {
		calls = append(calls, Call{Scheme: "http", Address: address, Port: int(t.AppPort), Host: host})
	}
	return calls
}

// safe reports whether nothing leaves at an end but in the TLS of t.
func safe(t Target, end End) bool {
	switch {
	case end.Answer != "":
		return true
	case end.TLS != nil && end.TLS.equal(wanted(t)):
		return true
	}
	return len(end.To) > 0 && all(end.To, func(to string) bool { return strings.HasPrefix(to, nowhere) })
}

// reaches reports whether a call gets to the partner in the TLS of t.
func reaches(t Target, end End) bool {
	return end.TLS != nil && end.TLS.equal(wanted(t)) && goesTo(t, end)
}

func goesTo(t Target, end End) bool {
	var want []string
	for _, endpoint := range t.EndpointsByPriority() {
		name := endpoint.Address
		if _, ip := endpoint.IP(); !ip {
			name += "."
		}
		want = append(want, fmt.Sprintf("%s:%d", name, endpoint.Port))
	}
	// Istio repeats the endpoints of a ServiceEntry for each of its addresses.
	to := slices.Compact(slices.Sorted(slices.Values(end.To)))
	return slices.Equal(to, slices.Sorted(slices.Values(want)))
}

// byAnchor reports whether the anchor alone makes the difference for the call of a neighbor.
func (j *judgment) byAnchor(call Call, pod Pod, ends []End) bool {
	alone := j.world.without()
	alone.Ours = slices.DeleteFunc(slices.Clone(j.world.Ours),
		func(object mesh.Object) bool { return !sameName(object, anchor(j.world.Targets)) })
	return len(alone.Ours) == len(j.world.Ours) || j.canEnd(alone, call, pod, ends)
}

// canEnd reports whether a call can end so in w: where several services have one host, Istio takes
// any of them, now this and now that.
func (j *judgment) canEnd(w World, call Call, pod Pod, ends []End) bool {
	for range 8 {
		s := start(j.t, w).sidecar(pod)
		if slices.EqualFunc(s.ends(s.resolved(call)), ends, sameEnd) {
			return true
		}
	}
	return false
}

// neighbors compares the calls of Pods that ask for nothing with those in the world without us, and
// the calls of a Pod of one target to the host of another.
func (j *judgment) neighbors(with control) {
	without := start(j.t, j.world.without())
	for _, pod := range neighbors() {
		j.compare(lawNeighbor, with.sidecar(pod), without.sidecar(pod), j.world.Targets)
	}
	for i, t := range j.world.Targets {
		others := slices.Delete(slices.Clone(j.world.Targets), i, i+1)
		if len(others) > 0 {
			j.compare(lawOther, with.sidecar(caller(t)), without.sidecar(caller(t)), others)
		}
	}
}

func (j *judgment) compare(law string, with, without *sidecar, targets []Target) {
	for _, call := range neighborCalls(j.world, targets) {
		if slices.ContainsFunc(j.world.Targets, func(t Target) bool {
			return with.pod.asks(t.Target) &&
				call.Host == t.Host
		}) {
			continue
		}
		ends, ended := j.ends(with, with.resolved(call)), j.ends(without, without.resolved(call))
		switch {
		case slices.EqualFunc(ends, ended, sameEnd):
		case j.canEnd(j.world.without(), call, with.pod, ends):
		case j.byAnchor(call, with.pod, ends):
			j.found(lawAnchor, Target{}, with, with.resolved(call), ends, ended)
		default:
			j.found(law, Target{}, with, with.resolved(call), ends, ended)
		}
	}
}

// sameEnd reports whether a call that ends in one way or the other is treated alike.
func sameEnd(a, b End) bool {
	return a.Answer == b.Answer && a.Settings == b.Settings && slices.Equal(a.To, b.To) && reflect.DeepEqual(a.TLS,
		b.TLS)
}

// neighborCalls are the calls to the hosts of targets and to the Services of w. Their addresses are
// names to resolve.
func neighborCalls(w World, targets []Target) []Call {
	var calls []Call
	for _, t := range targets {
		for _, host := range []string{t.Host, t.Host + "."} {
			calls = append(calls,
				Call{Scheme: "http", Address: host, Port: int(t.AppPort), Host: host},
				Call{Scheme: "https", Address: host, Port: int(t.Port), Host: t.Host})
		}
		calls = append(calls, Call{Scheme: "tcp", Address: t.Host, Port: int(t.AppPort)})
	}
	for _, service := range w.Services {
		address := service.Spec.ClusterIP
		if address == corev1.ClusterIPNone {
			address = podIP
		}
		for _, port := range service.Spec.Ports {
			calls = append(calls, Call{Scheme: "http", Address: address, Port: int(port.Port),
				Host: service.Name + "." + service.Namespace})
			calls = append(calls, Call{Scheme: "tcp", Address: address, Port: int(port.Port)})
		}
	}
	return calls
}

func all[T any](list []T, holds func(T) bool) bool {
	return !slices.ContainsFunc(list, func(each T) bool { return !holds(each) })
}
