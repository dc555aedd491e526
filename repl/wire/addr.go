package wire

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// NormalAddr writes HOST:PORT in the one form in which two of them compare.
// What is none it returns as it is. A name stays a name: what it stands for is
// looked up each time it is dialled.
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
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(strings.ToLower(host), strconv.FormatUint(port, 10))
}
