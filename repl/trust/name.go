package trust

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"muster/raft"
	"muster/shardmap/access"
)

// Kind is what a name is of.
type Kind uint8

const (
	// KindNode is a node of the cluster.
	KindNode Kind = 1
	// KindUser is a user: a person, or a program.
	KindUser Kind = 2
)

func (k Kind) String() string {
	switch k {
	case KindNode:
		return "node"
	case KindUser:
		return "user"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Name is who a certificate is for. The zero Name is nobody.
type Name struct {
	Cluster uint64 // Invariant: never 0
	Kind    Kind
	Node    raft.NodeID // of a node, never 0
	User    string      // of a user, as access.CheckName takes it
}

const (
	scheme   = "muster"
	rootPath = "/root"
	// foundingHost stands where a cluster's id would, and is none.
	foundingHost = "founding"
)

// URI is the name as it stands in a certificate.
func (n Name) URI() *url.URL {
	u := &url.URL{Scheme: scheme, Host: hexText(n.Cluster)}
	if n.Kind == KindUser {
		u.Path = "/user/" + n.User
	} else {
		u.Path = "/node/" + hexText(uint64(n.Node))
	}
	return u
}

func (n Name) String() string {
	if n == (Name{}) {
		return "nobody"
	}
	return n.URI().String()
}

// hexText is the id of a cluster or of a node as names have it.
func hexText(n uint64) string { return fmt.Sprintf("%016x", n) }

const wantName = "muster://CLUSTER/node/ID with 16 hexadecimal digits for each, or muster://CLUSTER/user/NAME"

// Check refuses what no certificate is made for.
func (n Name) Check() error {
	switch {
	case n.Cluster == 0:
		return &Error{Field: "cluster of a name", Found: "0", Want: "the id of a cluster"}
	case n.Kind == KindNode && n.User != "":
		return &Error{Field: "name of a node", Found: "the user " + shown(n.User), Want: "none"}
	case n.Kind == KindNode && n.Node == 0:
		return &Error{Field: "node of a name", Found: "0", Want: "the id of a node"}
	case n.Kind == KindUser && n.Node != 0:
		return &Error{Field: "name of a user", Found: fmt.Sprintf("node %d", n.Node), Want: "none"}
	case n.Kind == KindUser:
		if err := access.CheckName(n.User); err != nil {
			return fmt.Errorf("name of a user: %w", err)
		}
	case n.Kind != KindNode:
		return &Error{Field: "kind of a name", Found: n.Kind.String(), Want: "node or user"}
	}
	return nil
}

// ParseName returns the name that c is for. It proves nothing: [Trusted.Verify]
// does.
func ParseName(c *x509.Certificate) (Name, error) {
	u, err := oneURI(c)
	if err != nil {
		return Name{}, err
	}
	if u == foundingURI().String() {
		return Name{}, &Error{Field: "certificate's name", Found: u, Want: wantName, Reason: ErrFounding}
	}
	n, ok := readName(u)
	// A name has one spelling. Two that mean the same could be taken for
	// different ones elsewhere, say in a list of what is denied.
	if !ok || n.Check() != nil || n.URI().String() != u {
		return Name{}, &Error{Field: "certificate's name", Found: shown(u), Want: wantName}
	}
	return n, nil
}

// oneURI is the text of the only URI of c.
func oneURI(c *x509.Certificate) (string, error) {
	if len(c.URIs) != 1 {
		return "", &Error{Field: "certificate's names", Found: plural(len(c.URIs), "URI"), Want: "exactly one, " + wantName}
	}
	return c.URIs[0].String(), nil
}

func readName(u string) (n Name, ok bool) {
	rest, ok := strings.CutPrefix(u, scheme+"://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return n, false
	}
	cluster, err := strconv.ParseUint(parts[0], 16, 64)
	if err != nil {
		return n, false
	}
	switch parts[1] {
	case KindNode.String():
		id, err := strconv.ParseUint(parts[2], 16, 64)
		return Name{Cluster: cluster, Kind: KindNode, Node: raft.NodeID(id)}, err == nil
	case KindUser.String():
		return Name{Cluster: cluster, Kind: KindUser, User: parts[2]}, true
	}
	return n, false
}

func rootURI(cluster uint64) *url.URL {
	return &url.URL{Scheme: scheme, Host: hexText(cluster), Path: rootPath}
}

func foundingURI() *url.URL { return &url.URL{Scheme: scheme, Host: foundingHost} }

// Founding reports whether c is a certificate that a host made by itself
// ([SelfSigned]), since it has none of a cluster yet.
func Founding(c *x509.Certificate) bool {
	u, err := oneURI(c)
	return err == nil && u == foundingURI().String()
}
