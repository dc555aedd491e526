package client

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// PortDefault is the port of an endpoint that is given without one: that of a
// node whose operator chose none.
const PortDefault = "4166"

// EndpointDefault is the endpoint of a client that is given none: a node on the same host whose
// operator chose no other address.
const EndpointDefault = "127.0.0.1:" + PortDefault

// Endpoint reads the address of a node as people write it, and returns it with
// its port: host:port, or host alone, which may be an IPv6 address with or
// without brackets. The error names what was given and says what is wanted.
func Endpoint(given string) (string, error) {
	bad := func(why string) error {
		return fmt.Errorf("%q %s; want HOST:PORT, or HOST where the port is %s", given, why, PortDefault)
	}
	host, port, err := net.SplitHostPort(given)
	if err != nil {
		// No port; or, of an IPv6 address without brackets, too many colons.
		host, port = given, PortDefault
		if inner, open := strings.CutPrefix(given, "["); open {
			host = strings.TrimSuffix(inner, "]")
		}
		if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, ":[]") || strings.HasPrefix(given, "[") != strings.HasSuffix(given, "]") {
			return "", bad("is not an address")
		}
	}
	switch {
	case given == "":
		return "", bad("is empty")
	case strings.ContainsAny(host, " /@,?#") || strings.Contains(given, "//"),
		// A name in another script has a form in ASCII, which is what DNS is asked.
		strings.ContainsFunc(given, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", bad("is not an address")
	case host != "" && strings.Trim(host, "0123456789") == "":
		return "", bad("has no host")
	case port == "":
		return "", bad("has no port behind the colon")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q has port %q; want a number, 1 to 65535", given, port)
	}
	return net.JoinHostPort(host, port), nil
}
