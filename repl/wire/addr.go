package wire

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// NormalAddr writes HOST:PORT in the one form in which two of them compare.
// It returns any other text unchanged. A name stays a name: it is resolved at each
// dial.
func NormalAddr(addr string) string {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String() // in lower case but for a zone, which is the name of an interface
	} else {
		host = strings.ToLower(host)
	}
	return net.JoinHostPort(host, strconv.FormatUint(port, 10))
}
