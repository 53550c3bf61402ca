package explain

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"mtls.egress/webhook/internal/egress"
)

// maxCalls is the number of calls that ReadAccessLog returns.
const maxCalls = 20

// ReadAccessLog returns the last calls of the target in the log of a sidecar, in Istio's default
// format or in JSON.
// https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format
func ReadAccessLog(t egress.Target, log []byte) []Call {
	var calls []Call
	for line := range strings.Lines(string(log)) {
		entry, ok := parseJSONLine(line)
		if !ok {
			entry, ok = parseTextLine(line)
		}
		if ok && entry.concerns(t) {
			calls = append(calls, entry.call())
		}
	}
	return calls[max(0, len(calls)-maxCalls):]
}

// logEntry is one line, with the names of Istio's JSON format.
type logEntry struct {
	StartTime string `json:"start_time"`
	Code      int    `json:"response_code"`
	Flags     string `json:"response_flags"`
	Details   string `json:"response_code_details"`
	Failure   string `json:"upstream_transport_failure_reason"`
	Authority string `json:"authority"`
	Upstream  string `json:"upstream_host"`
	Cluster   string `json:"upstream_cluster"`
	// Called is the address that the app called.
	Called     string `json:"downstream_local_address"`
	ServerName string `json:"requested_server_name"`
}

func parseJSONLine(line string) (entry logEntry, ok bool) {
	if !strings.HasPrefix(line, "{") {
		return entry, false
	}
	return entry, json.Unmarshal([]byte(line), &entry) == nil && entry.StartTime != ""
}

// The fields of Istio's default format.
const (
	fieldTime = iota
	_         // method, path and protocol
	fieldCode
	fieldFlags
	fieldDetails
	_ // why the connection was terminated
	fieldFailure
	_ // bytes received
	_ // bytes sent
	_ // duration
	_ // duration at the upstream
	_ // X-Forwarded-For
	_ // User-Agent
	_ // X-Request-Id
	fieldAuthority
	fieldUpstream
	fieldCluster
	_ // upstream's local address
	fieldCalled
	_ // downstream's remote address
	fieldServerName
	fieldsOfText
)

func parseTextLine(line string) (entry logEntry, ok bool) {
	fields := splitFields(line)
	if len(fields) < fieldsOfText || !strings.HasPrefix(line, "[") {
		return entry, false
	}
	code, err := strconv.Atoi(fields[fieldCode])
	if err != nil {
		return entry, false
	}
	return logEntry{
		StartTime: fields[fieldTime], Code: code,
		Flags: fields[fieldFlags], Details: fields[fieldDetails], Failure: fields[fieldFailure],
		Authority: fields[fieldAuthority], Upstream: fields[fieldUpstream], Cluster: fields[fieldCluster],
		Called: fields[fieldCalled], ServerName: fields[fieldServerName],
	}, true
}

// splitFields splits at blanks, except in quotes and in brackets or braces.
func splitFields(line string) []string {
	var fields []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		end, closing := strings.IndexByte(line, ' '), ""
		switch line[0] {
		case '"':
			closing = `"`
		case '[':
			closing = "]"
		}
		if closing == "" {
			if open := strings.IndexByte(line, '{'); open >= 0 && open < max(end, 0) {
				if shut := strings.IndexByte(line, '}'); shut > open {
					end = shut + 1
				}
			}
			if end < 0 || end > len(line) {
				end = len(line)
			}
			fields, line = append(fields, line[:end]), line[end:]
			continue
		}
		shut := strings.Index(line[1:], closing)
		if shut < 0 {
			return append(fields, line[1:])
		}
		fields, line = append(fields, line[1:shut+1]), line[shut+2:]
	}
	return fields
}

// concerns reports whether the line is about a call to the target.
func (e logEntry) concerns(t egress.Target) bool {
	host, _, _ := strings.Cut(e.Authority, ":")
	if strings.EqualFold(strings.TrimSuffix(host, "."), t.Host) || e.ServerName == t.Host ||
		strings.HasSuffix(e.Cluster, "|"+egress.MeshHost(t.Host)) {
		return true
	}
	called, err := netip.ParseAddrPort(e.Called)
	return err == nil && called.Addr() == t.Address()
}

func (e logEntry) call() Call {
	c := Call{
		Code: e.Code, Details: e.Details, Failure: unlessDash(e.Failure), Upstream: unlessDash(e.Upstream),
		Cluster: unlessDash(e.Cluster), Called: unlessDash(e.Called),
	}
	c.Time, _ = time.Parse(time.RFC3339, e.StartTime) // without a time, it is the zero value
	if flags := unlessDash(e.Flags); flags != "" {
		c.Flags = strings.Split(flags, ",")
	}
	return c
}

func unlessDash(text string) string {
	if text == "-" {
		return ""
	}
	return text
}
