package partner

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
)

// Filter says which connections are asked for; its zero value asks for all.
type Filter struct {
	// Path is matched by connections with a request whose path starts with it, and by plain
	// connections whose first [KeptPlaintext] bytes contain it. A path of at most two segments is
	// matched exactly however much a connection carried.
	Path string
	// Remote is the caller's IP address.
	Remote string
	// Port is the partner's port.
	Port int
	// After is the ID after which connections are asked for.
	After int64
}

// query is the filter as parameters of a request to the control port.
func (f Filter) query() url.Values {
	values := url.Values{}
	if f.Path != "" {
		values.Set("path", f.Path)
	}
	if f.Remote != "" {
		values.Set("remote", f.Remote)
	}
	if f.Port != 0 {
		values.Set("port", strconv.Itoa(f.Port))
	}
	if f.After != 0 {
		values.Set("after", strconv.FormatInt(f.After, 10))
	}
	return values
}

// filterOf reads the parameters. An unknown one is an error: overlooked, it would make the answer
// one to another question.
func filterOf(values url.Values) (Filter, error) {
	var filter Filter
	var problems []error
	for name := range values {
		value := values.Get(name)
		var err error
		switch name {
		case "path":
			filter.Path = value
		case "remote":
			var address netip.Addr
			address, err = netip.ParseAddr(value)
			filter.Remote = address.Unmap().String()
		case "port":
			filter.Port, err = strconv.Atoi(value)
		case "after":
			filter.After, err = strconv.ParseInt(value, 10, 64)
		default:
			err = errors.New("there is no such filter; there are path, remote, port and after")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("parameter %s=%s: %w", name, value, err))
		}
	}
	return filter, errors.Join(problems...)
}
