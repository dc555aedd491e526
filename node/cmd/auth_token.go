package cmd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node/web"
	"muster/raft"
	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

const tokenOfLoginForm = `{"token":…,"user":…,"expires":…}`

func authTokenVerb(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "token", Usage: "print a token of an hour for the page and for requests over HTTP",
		Description: `The token stands for the user whose certificate this host keeps for the cluster. Give it to the page in the
place of a password, or send it with each request:

    muster ca export > root.pem
    curl --cacert root.pem -H "Authorization: Bearer $(muster auth token)" https://HOST:4166/api/v1/auth/whoami

HOST is that of the node's address, as "muster node list" shows it.

Anybody who reads the token is that user until it ends. A certificate that came by a password gets none: log in on
the page.

With -o json: ` + tokenOfLoginForm,
		Action: con.action(authToken),
	})
}

func authToken(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	insecure, err := insecureOf(c)
	if err != nil {
		return err
	}
	if insecure {
		return usagef("%s: --insecure: a cluster without TLS asks nobody who he is; send requests without a token, on the node's own host", c.Command.HelpName)
	}
	ca, err := companyOf(c, insecure)
	if err != nil {
		return err
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		t, leader, err := s.client.Table(ctx, "")
		if err != nil {
			return err
		}
		node, ok := t.Node(leader)
		if !ok {
			return wire.Unavailable("token", "nobody is known to lead the meta group, which makes certificates")
		}
		shown, roots, err := credentialFor(t)
		if err != nil {
			return err
		}
		b, err := askToken(ctx, node.Addr, &tls.Config{
			// The library would look for the name of a host. VerifyConnection looks for the node.
			InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{trust.ALPNHTTP1}, Certificates: []tls.Certificate{*shown},
			VerifyConnection: func(state tls.ConnectionState) error { return isNode(state, node.ID, node.Addr, roots, ca) },
		})
		if err != nil {
			return err
		}
		if s.json {
			return s.printJSON(b)
		}
		return s.line("%s", b.Token)
	})
}

// credentialFor is the newest certificate that this host keeps of its user for a cluster, and the roots that it keeps.
func credentialFor(t *shardmap.Table) (shown *tls.Certificate, roots trust.Trusted, err error) {
	h, err := home.Default()
	if err != nil {
		return nil, roots, err
	}
	kept, err := h.Roots()
	if err != nil {
		return nil, roots, err
	}
	roots.Roots = kept.Roots
	for _, root := range kept.Roots {
		if of, err := trust.RootCluster(root); err != nil || of != t.Security.ClusterOf(t) {
			continue
		}
		k, err := h.Credential(trust.RootIDOf(root.Raw))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, roots, err
		case k.Certificate != nil && (shown == nil || trust.Issued(shown.Leaf).Before(trust.Issued(k.Certificate.Leaf))):
			shown = k.Certificate
		}
	}
	if shown == nil {
		return nil, roots, wire.Unauthorized("credentials", "there is no certificate for this cluster in "+h.Dir(), "get one: muster user cert NAME on a host that has one; whoever has a password logs in with that on the page, or by POST /api/v1/auth/login")
	}
	return shown, roots, nil
}

// isNode refuses a host that does not prove to be the node that leads: anybody else could answer with a token of his own,
// and the user would work in that one's name.
func isNode(s tls.ConnectionState, id raft.NodeID, addr string, roots trust.Trusted, ca []byte) error {
	if len(ca) > 0 {
		company, err := trust.LoadCA(ca)
		if err != nil {
			return err
		}
		_, err = company.Verify(s.PeerCertificates, addr, time.Now())
		return err
	}
	p, err := roots.Node(s.PeerCertificates, time.Now())
	switch {
	case err != nil:
		return err
	case p.Expired || p.Name.Node != id:
		return fmt.Errorf("its certificate is that of %s, until %s; want that of node %s", p.Name, p.NotAfter.UTC().Format(time.RFC3339), id)
	}
	return nil
}

// tokenAnswerMax bounds the answer to a request for a token, in bytes.
const tokenAnswerMax = 64 << 10

// askToken has the node at addr make a token.
func askToken(ctx context.Context, addr string, config *tls.Config) (b web.Badge, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+apiRoot+"auth/token", nil)
	if err != nil {
		return b, err
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	a, err := transport.RoundTrip(q)
	if err != nil {
		return b, wire.Unavailable("node at "+addr, err.Error())
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, tokenAnswerMax))
	if err != nil {
		return b, wire.Unavailable("node at "+addr, err.Error())
	}
	if a.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, &b); err != nil {
			return b, fmt.Errorf("node at %s: read its answer: %w", addr, err)
		}
		return b, nil
	}
	var refused struct {
		Error web.Refusal `json:"error"`
	}
	if err := json.Unmarshal(text, &refused); err != nil || refused.Error.Message == "" {
		return b, fmt.Errorf("node at %s: it answers with status %d", addr, a.StatusCode)
	}
	return b, withStatus(exitStatus(refused.Error.Exit), "%s", refused.Error.Message)
}
