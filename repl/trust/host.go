package trust

import (
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
)

// Host is what a browser finds a node by: an IP address in its usual spelling, or a name in DNS in lower case. It
// stands in the node's certificate for browsers alone. Nothing here goes by it: a node is known by its [Name]. The
// zero Host is none.
type Host string

const (
	hostMax  = 253 // bytes of a name in DNS (RFC 1035, section 2.3.4)
	labelMax = 63  // bytes between two dots
)

// broadcast is all hosts of a network.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// HostOf is the host of an address HOST:PORT. It is zero for one that no certificate can name: an address with a zone,
// an address of many hosts or of none, and what is no name in DNS.
func HostOf(addr string) Host {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		zoned := ip.Zone() != "" // Unmap forgets it
		ip = ip.Unmap()
		if zoned || ip.IsUnspecified() || ip.IsMulticast() || ip == broadcast {
			return ""
		}
		return Host(ip.String())
	}
	host = strings.ToLower(host)
	if !isHostname(host) {
		return ""
	}
	return Host(host)
}

// isHostname reports whether a text in lower case is a name of a host: labels of letters, digits and hyphens (RFC 1123,
// section 2.1). Browsers read a name whose last label is a number as an address, so that is none.
func isHostname(name string) bool {
	if len(name) > hostMax {
		return false
	}
	digits := false
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > labelMax || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		digits = label[0] >= '0' && label[0] <= '9'
		for _, c := range []byte(label) {
			digit := c >= '0' && c <= '9'
			if !digit && (c < 'a' || c > 'z') && c != '-' {
				return false
			}
			digits = digits && digit
		}
		digits = digits || strings.HasPrefix(label, "0x") // 0x7f is a number too
	}
	return !digits
}

// HostIn is the host that a certificate names; zero: none. It proves nothing.
func HostIn(c *x509.Certificate) Host {
	switch {
	case len(c.IPAddresses)+len(c.DNSNames) != 1:
		return ""
	case len(c.DNSNames) == 1:
		return Host(c.DNSNames[0])
	}
	ip, _ := netip.AddrFromSlice(c.IPAddresses[0]) // the library reads 4 or 16 bytes
	return Host(ip.Unmap().String())
}

// put makes a certificate name the host.
func (h Host) put(template *x509.Certificate) {
	if h == "" {
		return
	}
	if ip, err := netip.ParseAddr(string(h)); err == nil {
		template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
		return
	}
	template.DNSNames = []string{string(h)}
}
