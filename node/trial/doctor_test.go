package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"muster/node/trial/clustertest"
	"muster/repl/trust"
	"muster/repl/wire"
)

// examine runs doctor at n1, which has little patience, and reads what it
// prints; nothing, if it had no result in time.
func examine(c *clustertest.Cluster) (doctorRow, clustertest.Result) {
	c.T.Helper()
	r := c.Run("doctor", "-o", "json", "--endpoints", c.Nodes[0].Addr, "--timeout", "1500ms")
	var row doctorRow
	if err := json.Unmarshal([]byte(r.Stdout), &row); err != nil && r.Stdout != "" {
		c.T.Fatalf("doctor: status %d, %v: %s%s", r.Status, err, r.Stdout, r.Stderr)
	}
	return row, r
}

// says tells whether a finding of the severity has all of these words.
func (d *doctorRow) says(severity string, words ...string) bool {
	return slices.ContainsFunc(d.Findings, func(f findingRow) bool {
		for _, w := range words {
			if !strings.Contains(f.What, w) {
				return false
			}
		}
		return f.Severity == severity && f.Remedy != ""
	})
}

// The doctor is called when something is wrong that status does not explain. It
// must find nothing in a cluster that is well, and name the node that stands
// still and the groups that can't go on in one that is not.
func TestDoctor(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	c.Run("kv", "set", "k", "v").Done(t)
	c.Until("well, and every way measured", func(context.Context) error {
		row, r := examine(c)
		// A warning of a slow disk is one of the machine that tests.
		if r.Status != clustertest.ExitDone || !row.OK || row.says(severityError, "") || len(row.Links) != 6 || len(row.Nodes) != 3 {
			return fmt.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		for _, l := range row.Links {
			if !l.Reached || !l.Heard || l.RTTus == 0 || l.Why != "" {
				return fmt.Errorf("link %+v", l)
			}
		}
		for _, n := range row.Nodes {
			if !n.Answered || n.Syncs == 0 || n.SyncP99 < n.SyncP50 || n.FreeBytes == 0 || n.LogBytes < n.NeededBytes || n.Start != 1 {
				return fmt.Errorf("node %+v", n)
			}
		}
		return nil
	})
	table := c.Run("doctor").Done(t)
	for _, want := range []string{`FROM \\ TO`, `n1 +- +[\d.]+[µm]s +[\d.]+[µm]s`, "SYNC P50"} {
		if !regexp.MustCompile(want).MatchString(table) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}

	still := c.Nodes[2]
	still.Cmd.Process.Signal(syscall.SIGSTOP)
	c.Until("seen to stand still", func(context.Context) error {
		row, r := examine(c)
		cut := 0
		for _, l := range row.Links {
			if l.To == "n3" && !l.Reached {
				cut++
			}
		}
		if r.Status != clustertest.ExitRefused || row.OK || !row.says(severityError, "node n3 ("+still.Addr+") can't be asked") || row.says(severityError, "no live majority") || cut != 2 {
			return fmt.Errorf("status %d, %s", r.Status, r.Stdout)
		}
		return nil
	})
	c.Kill(1)
	c.Until("seen in the table", func(context.Context) error {
		out := c.Run("doctor", "--endpoints", c.Nodes[0].Addr, "--timeout", "1500ms")
		if out.Status != clustertest.ExitRefused || !strings.Contains(out.Stdout, "CUT") || !strings.Contains(out.Stdout, "does not answer") {
			return fmt.Errorf("status %d\n%s", out.Status, out.Stdout)
		}
		return nil
	})
	c.Until("seen to have no majority", func(context.Context) error {
		if row, r := examine(c); r.Status != clustertest.ExitRefused || !row.says(severityError, "no live majority of voters in groups 0, 1, 2") {
			return fmt.Errorf("status %d, %s", r.Status, r.Stdout)
		}
		return nil
	})
	still.Cmd.Process.Signal(syscall.SIGCONT)
	c.Start(1)
	c.Until("well again", func(context.Context) error {
		if row, r := examine(c); !row.OK {
			return errors.New(r.Stdout)
		}
		return nil
	})
	c.Kill(0)
	c.Kill(1)
	c.Kill(2)
	c.Run("doctor").Refused(t, clustertest.ExitNoEndpoint, "no endpoint accepted a connection")
}

// opening reads the first bytes of a connection, and says whether they are a client's. Over TLS a client's
// name the roots that it keeps, and a member's a mark, before anything is hidden.
func opening(conn net.Conn) (first []byte, client bool, err error) {
	const tlsHandshake, recordHead = 0x16, 5
	first = make([]byte, wire.PreambleSize)
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, false, err
	}
	if first[0] != tlsHandshake {
		return first, wire.Purpose(first[6]) == wire.PurposeClient, nil
	}
	record := recordHead + int(first[recordHead-2])<<8 + int(first[recordHead-1])
	first = append(first, make([]byte, max(record-len(first), 0))...)
	_, err = io.ReadFull(conn, first[wire.PreambleSize:])
	member := bytes.Contains(first, []byte(trust.ALPN+"/member/"))
	return first, !member && bytes.Contains(first, []byte(trust.ALPN+"/")), err
}

// gate stands before a node. Closed, it lets no peer in; clients pass, so that
// the node can still be asked.
type gate struct {
	listener net.Listener
	to       string
	closed   atomic.Bool

	mu    sync.Mutex
	peers []net.Conn // guarded by mu
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, to: to}
	t.Cleanup(func() { l.Close(); g.shut() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go g.pass(conn)
		}
	}()
	return g
}

func (g *gate) pass(conn net.Conn) {
	defer conn.Close()
	first, client, err := opening(conn)
	if err != nil {
		return
	}
	if !client {
		g.mu.Lock()
		g.peers = append(g.peers, conn)
		g.mu.Unlock()
		if g.closed.Load() {
			return
		}
	}
	there, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer there.Close()
	if _, err := there.Write(first); err != nil {
		return
	}
	go func() {
		io.Copy(there, conn)
		there.Close()
	}()
	io.Copy(conn, there)
}

// shut ends the connections of peers, and lets none in any more.
func (g *gate) shut() {
	g.closed.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.peers {
		conn.Close()
	}
}

// open lets peers in again.
func (g *gate) open() { g.closed.Store(false) }

// A node that reaches all others, and that nobody reaches, looks alive to
// everyone: it speaks. Only who asks both ends sees that the one way is cut.
func TestDoctorOneWay(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3, "--groups", "1")
	g := newGate(t, c.Nodes[0].Addr)
	addr := g.listener.Addr().String()
	for i, p := range c.Nodes {
		for j := range p.Args {
			if p.Args[j] != p.Addr || i != 0 { // not what n1 listens on
				p.Args[j] = strings.ReplaceAll(p.Args[j], c.Nodes[0].Addr, addr)
			}
		}
	}
	c.Nodes[0].Args = append(c.Nodes[0].Args, "--advertise", addr)
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	g.shut()
	c.Until("seen to be cut one way", func(context.Context) error {
		row, r := examine(c)
		for _, from := range []string{"n2", "n3"} {
			if !row.says(severityError, from+" does not reach n1 (", "though n1 reaches "+from+": it is cut one way") {
				return fmt.Errorf("status %d, %s", r.Status, r.Stdout)
			}
		}
		if row.says(severityError, "n1 does not reach") || row.says(severityError, "n2 does not reach n3") || r.Status != clustertest.ExitRefused {
			return fmt.Errorf("status %d, %s", r.Status, r.Stdout)
		}
		return nil
	})
	// n1 hears nobody, and knows all the same that they live: they answer it.
	c.Until("n1 calls nobody dead", func(context.Context) error {
		row, r := statusOf(c, 0)
		cut := 0
		for _, p := range row.Problems {
			if strings.Contains(p.What, "answers this node, but nothing that it sends by itself arrives here") && strings.Contains(p.Remedy, "see what keeps connections from it to "+addr) {
				cut++
			}
		}
		dead := slices.ContainsFunc(row.Nodes, func(n nodeRow) bool { return n.Status != "alive" })
		if cut != 2 || dead || strings.Contains(r.Stdout, "start it again") {
			return fmt.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		return nil
	})
}

// A cluster begins with fewer groups than servers where its founder says so, and works. That is no
// finding: a warning that never goes hides the next one. A note tells what more groups would bring, with
// the command that makes one, and is gone once it was carried out.
func TestFewerGroupsThanServersIsNoFinding(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	noted := func() (string, error) {
		status, r := statusOf(c, 0)
		if r.Status != clustertest.ExitDone {
			return "", fmt.Errorf("status %d: %s", r.Status, r.Stdout)
		}
		if row, r := examine(c); r.Status != clustertest.ExitDone || strings.Contains(r.Stdout, "fewer groups") {
			return "", fmt.Errorf("doctor ends with %d, findings %+v", r.Status, row.Findings)
		}
		for _, n := range status.Notes {
			if strings.Contains(n.What, "fewer groups") {
				return n.What + " -> " + n.Remedy, nil
			}
		}
		return "", nil
	}
	c.Until("a note tells it", func(context.Context) error {
		note, err := noted()
		if err == nil && (!strings.Contains(note, "there are fewer groups (2) than servers (3)") || !strings.Contains(note, "muster group create")) {
			err = fmt.Errorf("the note is %q", note)
		}
		return err
	})
	c.Run("group", "create").Done(t)
	c.Until("there are enough", func(context.Context) error {
		note, err := noted()
		if err == nil && note != "" {
			err = fmt.Errorf("the note is still %q", note)
		}
		return err
	})
}
