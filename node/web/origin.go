package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"muster/repl/wire"
)

// A browser asks in the name of whoever wrote the page, and sends along what the user is known by there: the client
// certificate of the connection or, where nobody is asked, that the request comes from this host. Two things keep other
// people's pages out. A page under a name that an attacker has pointed at this address has that name in its Host
// field, and such names are refused. A page from elsewhere names its origin, and only those of members are taken.

const (
	// originsMax bounds the members that a page may go on through, in its policy.
	originsMax = 64
	// corsAge is for how long, in seconds, a browser need not ask again whether a page may.
	corsAge = "600"
)

// Places are the hosts as which a node is asked, and the origins of pages that may ask it. They don't change.
type Places struct {
	hosts   map[string]bool // names and addresses without port, in lower case
	origins map[string]bool
	policy  []string // of pages, as a field of an answer
}

// NewPlaces returns the places of members at addrs, as host:port, which have other names too.
func NewPlaces(addrs, names []string) *Places {
	p := &Places{hosts: make(map[string]bool), origins: make(map[string]bool)}
	for _, name := range names {
		p.hosts[strings.ToLower(name)] = true
	}
	var connect []string
	for _, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue // no address that a browser can have
		}
		host = strings.ToLower(host)
		p.hosts[host] = true
		for _, scheme := range []string{"https", "http"} {
			origin := originOf(scheme, host, port)
			p.origins[origin] = true
			if len(connect) < 2*originsMax && !slices.Contains(connect, origin) {
				connect = append(connect, origin)
			}
		}
	}
	p.policy = []string{"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self' " +
		strings.Join(connect, " ") + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
	return p
}

// originOf is an origin as browsers write it.
func originOf(scheme, host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return scheme + "://" + host
	}
	return scheme + "://" + host + ":" + port
}

// hostOf is the host of a Host field, in lower case.
func hostOf(field string) string {
	host, _, err := net.SplitHostPort(field)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(field, "["), "]")
	}
	return strings.ToLower(host)
}

// Loopback reports whether a host's name or address is one of this host alone.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// bugAnyHost is planted to show that its test finds it: whatever name somebody points at this host is one of its own.
const bugAnyHost = "any Host accepted"

// checkHost refuses a request for another host. here is the address that the connection came to.
func (p *Places) checkHost(field, here string) *wire.Error {
	host := hostOf(field)
	if p.hosts[host] || host == here || Loopback(host) || bug(bugAnyHost) {
		return nil
	}
	return wire.Unauthorized("host of the request", "it is none of the names and addresses of this cluster's nodes", "use the address of a node as muster node list shows it, or give the name to the node: serve --http-host NAME")
}

// bugAnyOrigin is planted to show that its test finds it: any page may ask.
const bugAnyOrigin = "any Origin accepted"

// checkOrigin refuses what a browser sends in the name of a page from elsewhere. allowed is the origin of a page from
// another member, which may read the answer. A program that is no browser names none.
func (p *Places) checkOrigin(v *Visitor, r *http.Request, k Kind) (allowed string, refused *wire.Error) {
	scheme := "http://"
	if v.TLS {
		scheme = "https://"
	}
	origin, site := field(r, "Origin"), field(r, "Sec-Fetch-Site")
	switch {
	case origin != "" && strings.EqualFold(origin, scheme+r.Host):
		return "", nil
	case bug(bugAnyOrigin):
		return origin, nil
	case origin != "" && p.origins[origin] && strings.HasPrefix(origin, scheme):
		return origin, nil
	case origin == "" && (site == "" || site == "same-origin" || site == "none"):
		return "", nil
	case origin == "" && k == Page && r.Method == http.MethodGet && field(r, "Sec-Fetch-Mode") == "navigate" && field(r, "Sec-Fetch-Dest") == "document":
		return "", nil // a link
	}
	return "", wire.Unauthorized("origin of the request", "it is made by a page that is not of this cluster", "use the page of a node, at /ui/, or a program that is no browser")
}

// field is the first value of a field of a request.
func field(r *http.Request, name string) string {
	if v := r.Header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// The fields of answers. What is set for each answer is made once.
var (
	noSniff   = []string{"nosniff"}
	noFrame   = []string{"DENY"}
	noReferer = []string{"no-referrer"}
	sameOnly  = []string{"same-origin"}
	noStore   = []string{"no-store"}
	noPolicy  = []string{"default-src 'none'; frame-ancestors 'none'"}
	vary      = []string{"Origin"}
)

// bugFramed is planted to show that its test finds it: any page may show this one in a frame.
const bugFramed = "page in a frame"

// guard sets the fields that keep an answer from being used as something else, or by somebody else.
func (p *Places) guard(h http.Header, k Kind, allowed string) {
	h["X-Content-Type-Options"] = noSniff
	h["Referrer-Policy"] = noReferer
	h["Cross-Origin-Resource-Policy"] = sameOnly
	h["Cross-Origin-Opener-Policy"] = sameOnly
	h["Vary"] = vary
	if allowed != "" {
		h["Access-Control-Allow-Origin"] = []string{allowed}
	}
	if bug(bugFramed) {
		return
	}
	h["X-Frame-Options"] = noFrame
	if k == Page {
		h["Content-Security-Policy"] = p.policy
		return
	}
	h["Content-Security-Policy"] = noPolicy
	h["Cache-Control"] = noStore
}

// preflight answers a browser that asks whether a page of another member may ask.
func preflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
	h.Set("Access-Control-Max-Age", corsAge)
	w.WriteHeader(http.StatusNoContent)
}
