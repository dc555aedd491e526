package client

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// Options say what a client connects to and how. The zero value is for a program on the host of a
// node that was started without options by the same user: it connects to [EndpointDefault], over
// TLS, with the certificate that the user has. Each field that is not given means what its comment
// says.
type Options struct {
	// Endpoints are addresses of nodes, host:port, or host where the port is [PortDefault]. One
	// that can be used is enough; the others are learnt from it. Local reads go to the first. None:
	// [EndpointDefault].
	Endpoints []string
	// Cluster is the name that the cluster must have. Empty: any.
	Cluster string

	// Insecure connects without TLS, so that everybody on the way can read what is said. A cluster
	// whose nodes were started with --insecure wants that.
	Insecure bool
	// Home is the directory where the user's certificates are, by the roots of clusters, as muster
	// auth login leaves them there. Empty: that of the variable MUSTER_HOME, or else muster under
	// the user's directory for configuration; see package home.
	Home string
	// Secret is what the cluster's nodes share. Empty: they have none, or go by certificates.
	Secret []byte
	// CA has the certificates of a company's CA, as PEM, where nodes have certificates of that
	// (serve --tls-cert). A node is then believed by that CA alone, and by the host that was
	// dialled, which must be among the certificate's names: no root that is kept in Home, and no
	// Secret, takes its place. The user is who it is elsewhere: of its certificates in Home, the one
	// for the node's cluster is shown. It can't be given with Insecure or Meet. Empty: nodes are
	// believed by the roots in Home, or by Secret.
	CA []byte
	ca *trust.CA // what CA says; set by check
	// Meet, if set, is asked about the root of the cluster, whether that is kept in Home or not, and
	// believes it by returning nil. Without it, a cluster is refused whose root is not kept.
	Meet func(root *x509.Certificate) error
	// Guest shows no certificate, even if the user has one: to get the first, or another.
	Guest bool

	// Patience is how long a call waits while no endpoint has ever accepted a connection. 0:
	// [PatienceDefault].
	Patience time.Duration
	// DialTimeout bounds how long a node may take to accept a connection and say hello. 0: 2 s.
	DialTimeout time.Duration
	// Dial connects to the node at addr, host:port, and gives up when ctx ends, at
	// [Options.DialTimeout]. Nil: by TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Forward says when the nodes pass requests on to the one that leads. 0: [ForwardWhenCut].
	Forward Forwarding
	// Elsewhere says what a caller may do about a request that another node has to answer and nobody
	// passes on, where Forward is [ForwardAlways]: it stands in the error behind the address of that
	// node, as "ask ADDRESS, or ELSEWHERE". Empty: nothing.
	Elsewhere string
	// ConnectionsPerNode is how many connections there are to a node, 64 at most. One is mostly
	// enough: all calls share it. Of more, each is used only while those before it are busy. 0: 1.
	ConnectionsPerNode int
	// KeyBytes is how many bytes a connection over TLS carries in one direction before it is
	// replaced by another one, which has other keys; requests under way are answered, and watches
	// and listings go on. At least 65,536. At most [wire.KeyBytesMax], for a node ends a connection
	// that has carried twice that. 0: [wire.KeyBytesMax].
	KeyBytes int64
	// WindowMax is how many writes may be open in each of the client's [Lanes] sessions, 64 to
	// [shardmap.SessionWindowMax]; further ones wait. 0: [WindowDefault].
	WindowMax int
	// Log gets one line per connection that is made or lost. Nil: nobody does.
	Log *slog.Logger
}

// Limits of Options.
const (
	dialTimeoutDefault = 2 * time.Second
	// connectionsMax bounds the connections to one node; more than a few
	// cost both sides more than they spare.
	connectionsMax = 64
	// keyBytesMin is the least that a connection carries before it is replaced: much more than a hello.
	keyBytesMin = 64 << 10
	// lookEvery is how often the health of connections is looked at.
	lookEvery = 250 * time.Millisecond
)

// Client uses one cluster. Its methods may be called by any number of
// goroutines.
type Client struct {
	*courier
	services
	inspector
	certifier
	lanes [Lanes]*lane
}

// Open returns a client. It connects when the first call needs it, so that an error is always about
// o: it names the field, and what would be right.
func Open(o Options) (*Client, error) { return open(o, systemClock()) }

func open(o Options, source clockSource) (*Client, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var seed [8 * (Lanes + 1)]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("open client: random session ids: %w", err)
	}
	c := new(Client)
	c.services = services{c}
	for i := range c.lanes {
		id := binary.LittleEndian.Uint64(seed[8*i:]) | 1 // never 0
		c.lanes[i] = newLane(id, uint64(o.WindowMax))
	}
	c.courier = newCourier(o, source, binary.LittleEndian.Uint64(seed[8*Lanes:]), c.welcomed)
	c.inspector = inspector{c.courier}
	c.certifier = certifier{courier: c.courier}
	if p := &c.protection; p.on && p.lost == nil && !p.guest {
		c.certifier.renewal = &renewal{home: p.home, now: time.Now,
			ask: func(ctx context.Context, request []byte) (*wire.RenewAnswer, error) {
				return c.Certificate(ctx, "", request)
			},
			called: func(ctx context.Context) (string, error) {
				t, _, err := c.Table(ctx, "")
				if err != nil {
					return "", err
				}
				return t.Cluster, nil
			}}
		c.running.Add(1)
		go c.renews()
	}
	return c, nil
}

// welcomed takes note of how many writes of a session may be open, as a node has
// said.
func (c *Client) welcomed(windowMax uint32) {
	if windowMax == 0 {
		return
	}
	for _, lane := range c.lanes {
		lane.lower(uint64(windowMax))
	}
}

func (o *Options) check() error {
	if len(o.Endpoints) == 0 {
		o.Endpoints = []string{EndpointDefault}
	}
	endpoints := make([]string, len(o.Endpoints))
	for i, e := range o.Endpoints {
		var err error
		if endpoints[i], err = Endpoint(e); err != nil {
			return fmt.Errorf("open client: endpoint %w", err)
		}
	}
	o.Endpoints = endpoints
	if len(o.CA) > 0 {
		var err error
		switch o.ca, err = trust.LoadCA(o.CA); {
		case err != nil:
			return fmt.Errorf("open client: %w", err)
		case o.Insecure:
			return errors.New("open client: a CA is given, and Insecure, which is without TLS; leave one of them out")
		case o.Meet != nil:
			return errors.New("open client: a CA is given, and Meet: each says whom to believe; leave one of them out")
		}
	}
	if o.ConnectionsPerNode == 0 {
		o.ConnectionsPerNode = 1
	}
	if o.ConnectionsPerNode < 0 || o.ConnectionsPerNode > connectionsMax {
		return fmt.Errorf("open client: %d connections per node; want 1 to %d", o.ConnectionsPerNode, connectionsMax)
	}
	switch {
	case o.DialTimeout < 0:
		return fmt.Errorf("open client: dial timeout of %s; want 0 or more", o.DialTimeout)
	case o.Patience < 0:
		return fmt.Errorf("open client: patience of %s; want 0 or more", o.Patience)
	case o.Forward > ForwardNever:
		return fmt.Errorf("open client: forward is %d; want ForwardWhenCut, ForwardAlways or ForwardNever", o.Forward)
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = dialTimeoutDefault
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	if o.KeyBytes == 0 {
		o.KeyBytes = wire.KeyBytesMax
	}
	if o.KeyBytes < keyBytesMin || o.KeyBytes > wire.KeyBytesMax {
		return fmt.Errorf("open client: %d bytes under the keys of a connection; want %d to %d", o.KeyBytes, keyBytesMin, wire.KeyBytesMax)
	}
	if o.WindowMax == 0 {
		o.WindowMax = WindowDefault
	}
	if o.WindowMax < 64 || o.WindowMax > shardmap.SessionWindowMax {
		return fmt.Errorf("open client: window of %d writes; want 64 to %d", o.WindowMax, shardmap.SessionWindowMax)
	}
	o.WindowMax &^= 63
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Close ends all calls with [ErrClosed], or with maybe-applied, and returns when
// the client's goroutines have ended.
func (c *Client) Close() error {
	c.close()
	return nil
}
