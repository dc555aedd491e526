package cmd

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/wire"
)

// errand is one command's work with a cluster: a client, and the options that all
// such commands have.
type errand struct {
	*console
	client    *client.Client
	endpoints []string
	json      bool
	timeout   time.Duration
	answered  atomic.Bool // some node has answered something; a command may ask several at a time
}

// open reads the common options and makes a client, which dials when it is
// first asked something. The caller closes the errand.
func (con *console) open(c *cli.Context, connections int) (*errand, error) {
	return con.openAs(c, connections, func(*client.Options) {})
}

// openAs is open with a client that has other options, too.
func (con *console) openAs(c *cli.Context, connections int, with func(*client.Options)) (*errand, error) {
	if con.call != nil {
		return con.call.errand(con, c)
	}
	s := &errand{console: con}
	var err error
	if s.json, err = wantsJSON(c); err != nil {
		return nil, err
	}
	if s.timeout, err = timeoutOf(c); err != nil {
		return nil, err
	}
	if s.endpoints, err = endpointsOf(c); err != nil {
		return nil, err
	}
	cluster, err := clusterOf(c)
	if err != nil {
		return nil, err
	}
	secret, err := secretOf(c)
	if err != nil {
		return nil, err
	}
	insecure, err := insecureOf(c)
	if err != nil {
		return nil, err
	}
	ca, err := companyOf(c, insecure)
	if err != nil {
		return nil, err
	}
	o := client.Options{
		Endpoints: s.endpoints, Cluster: cluster, Secret: secret, Insecure: insecure, CA: ca, ConnectionsPerNode: connections,
	}
	with(&o)
	if s.client, err = client.Open(o); err != nil {
		return nil, err
	}
	return s, nil
}

// request runs what a command asks of a cluster, within its timeout, on an errand of its own.
func (con *console) request(c *cli.Context, ask func(context.Context, *errand) error) error {
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return s.with(c.Context, func(ctx context.Context) error { return ask(ctx, s) })
}

// openBare is open for a command without arguments.
func (con *console) openBare(c *cli.Context) (*errand, error) {
	if err := wantArgs(c, 0, 0); err != nil {
		return nil, err
	}
	return con.open(c, 1)
}

// openStatus is openBare for a command that begins with an endpoint's status.
func (con *console) openStatus(c *cli.Context) (*errand, *wire.StatusAnswer, error) {
	s, err := con.openBare(c)
	if err != nil {
		return nil, nil, err
	}
	a, err := s.status(c.Context)
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return s, a, nil
}

func (s *errand) close() {
	if s.call != nil {
		return // others have the same client
	}
	s.refresh(time.Now())
	s.client.Close()
}

// with runs f within the timeout.
func (s *errand) with(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := f(ctx)
	if err == nil {
		s.answered.Store(true)
	}
	return err
}

// isDenied reports whether a node has said that it does not permit something, or does not let us in.
func isDenied(err error) bool { return errors.Is(err, client.ErrUnauthorized) }

// noRight reports whether err, from the node at addr, means that this user lacks a right on the cluster. A node that has
// not let us in says no such thing, and another one may let us in. To tell the two apart it asks for the status, which
// every user who is let in may see.
func (s *errand) noRight(ctx context.Context, addr string, err error) bool {
	if !isDenied(err) {
		return false
	}
	_, outside := s.client.Status(ctx, addr)
	return outside == nil
}

// first returns the endpoint whose own copy is read, or "" for the node that a request over HTTP has come to.
func (s *errand) first() string {
	if len(s.endpoints) == 0 {
		return ""
	}
	return s.endpoints[0]
}

// status asks the endpoint, or where there are several the first that answers.
func (s *errand) status(ctx context.Context) (a *wire.StatusAnswer, err error) {
	endpoint := ""
	if len(s.endpoints) == 1 {
		endpoint = s.endpoints[0] // and no other, though the client may learn of some
	}
	err = s.with(ctx, func(ctx context.Context) error {
		a, err = s.client.Status(ctx, endpoint)
		return err
	})
	return a, err
}
