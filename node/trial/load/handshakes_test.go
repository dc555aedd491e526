package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/trust"
	"muster/repl/wire"
)

var handshakesFor = flag.Duration("handshakes", 0, "how long `D` TestHandshakeFlood makes each kind of attack, each for itself; the figures of docs/security.md are of 10s")

const (
	// attackVariable has the addresses that this binary attacks, instead of running tests, and attackKind how.
	attackVariable = "MUSTER_TEST_ATTACK"
	attackKind     = "MUSTER_TEST_ATTACK_KIND"
	// attackers are how many connections it has under way of each kind.
	attackers = 64
	// attackShare is what it has of a processor.
	attackShare = 0.25
	// attackFor is how long it attacks in the gate.
	attackFor = 3 * time.Second
	// attackTimes is by how much the p99 of a good client may grow. In the gate, where other
	// processes of this host begin and end meanwhile, it may also be attackMax.
	attackTimes = 2
	attackMax   = 50 * time.Millisecond
)

// attacks are what an attacker does with a connection. Each returns whether the other side has answered.
var attacks = map[string]func(conn net.Conn) bool{
	"bare connects": func(net.Conn) bool { return true },
	// The hello is always the same, and costs nothing to make. What the node makes of it, it has to
	// compute.
	"half handshakes": func(conn net.Conn) bool {
		if _, err := conn.Write(recordedHello()); err != nil {
			return false
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err == nil
	},
	"complete handshakes": func(conn net.Conn) bool {
		return tls.Client(conn, attackConfig(nil)).Handshake() == nil
	},
	"resumptions": func(conn net.Conn) bool {
		return tls.Client(conn, attackConfig(attackTickets)).Handshake() == nil
	},
	// A hello, and gone: nobody waits for what the node computes.
	"hellos without an end": func(conn net.Conn) bool {
		_, err := conn.Write(recordedHello())
		return err == nil
	},
}

// attackNothing uses its share of the processor for itself: what the same attacker costs others of its host
// who does not attack.
const attackNothing = "nothing"

// attackOrder is the order in which they are reported.
var attackOrder = []string{"bare connects", "half handshakes", "complete handshakes", "resumptions", "hellos without an end"}

var attackTickets = tls.NewLRUClientSessionCache(8)

func attackConfig(tickets tls.ClientSessionCache) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{trust.ALPN}, ClientSessionCache: tickets, ServerName: "node"}
}

// recordedHello is the first flight of a handshake, made once.
var recordedHello = sync.OnceValue(func() []byte {
	var kept keptWrites
	_ = tls.Client(&kept, attackConfig(nil)).Handshake() // it gets no answer
	return kept.Bytes()
})

// keptWrites is a connection that keeps what is written to it, and has nothing to read.
type keptWrites struct {
	net.Conn
	bytes.Buffer
}

func (k *keptWrites) Read([]byte) (int, error)    { return 0, io.EOF }
func (k *keptWrites) Write(b []byte) (int, error) { return k.Buffer.Write(b) }
func (k *keptWrites) Close() error                { return nil }

// attack attacks some addresses until it is killed or its standard input ends, and says each second how
// often it has succeeded: a process of its own, so that it can be held to its share.
func attack(where string) {
	addrs := strings.Split(where, ",")
	kinds := strings.Split(os.Getenv(attackKind), ",")
	var counts [16]atomic.Int64
	for k, kind := range kinds {
		do := attacks[kind]
		if do == nil { // attackNothing
			go func() {
				for n := 0; ; n++ {
				}
			}()
			continue
		}
		for i := range attackers {
			go func() {
				for n := i; ; n++ {
					conn, err := net.DialTimeout("tcp", addrs[n%len(addrs)], clustertest.DialMax)
					if err != nil {
						continue
					}
					// It leaves no connections behind in its system, which would run out of ports.
					if tcp, ok := conn.(*net.TCPConn); ok {
						_ = tcp.SetLinger(0)
					}
					if conn.SetDeadline(time.Now().Add(wire.HelloTimeout)) == nil && do(conn) {
						counts[k].Add(1)
					}
					conn.Close()
				}
			}()
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends with the test
		os.Exit(0)
	}()
	for range time.Tick(time.Second) {
		for k := range kinds {
			fmt.Printf("%d ", counts[k].Swap(0))
		}
		fmt.Println()
	}
}

// attacker is a process that attacks.
type attacker struct {
	p     *clustertest.Process
	kinds []string
	in    io.Closer
	said  bytes.Buffer // a line for each second; whole once it has ended
}

// startAttack has all nodes of c attacked in some ways, by a process that is held to its share.
func startAttack(t *testing.T, c *clustertest.Cluster, kinds ...string) *attacker {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), attackVariable+"="+c.Endpoints(), attackKind+"="+strings.Join(kinds, ","), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	a := &attacker{p: &clustertest.Process{Cmd: cmd, Exited: make(chan struct{})}, kinds: kinds, in: in}
	cmd.Stdout = &a.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(a.p.Exited) }()
	t.Cleanup(a.p.Kill)
	holdCPU(t, fmt.Sprintf("attack-%p", a), a.p, attackShare)
	return a
}

// stop ends an attack, and says how often a second each kind has succeeded.
func (a *attacker) stop() string {
	a.in.Close()
	<-a.p.Exited
	sums, seconds := make([]int, len(a.kinds)), 0
	for line := range strings.Lines(a.said.String()) {
		for k, field := range strings.Fields(line) {
			var n int
			_, _ = fmt.Sscan(field, &n)
			sums[k] += n
		}
		seconds++
	}
	var all []string
	for k, kind := range a.kinds {
		all = append(all, fmt.Sprintf("%s %d/s", kind, sums[k]/max(seconds, 1)))
	}
	return strings.Join(all, ", ")
}

// An attacker who makes connections as fast as a quarter of a core can must not be felt by a client that
// has one, change no leader, and keep no member out that comes back. One would doubt it: a handshake costs a
// node more than him, and who dials is known only when it is over.
func TestHandshakeFlood(t *testing.T) {
	c := clustertest.Start(t, 3)
	c.GoesByCertificates()
	if *handshakesFor > 0 {
		c.Plain = true
	}
	cl := c.Client()
	if *handshakesFor > 0 {
		var all []string
		other := clustertest.Start(t, 3)
		for _, kind := range attackOrder {
			t.Logf("%s at another cluster of this host: p99 %v", kind, besideAttack(t, c, other, *handshakesFor, kind))
			if wrong := underAttack(t, c, *handshakesFor, kind); wrong != "" {
				all = append(all, kind+": "+wrong)
			}
		}
		if len(all) > 0 {
			t.Error(strings.Join(all, "\n"))
		}
		return
	}
	timesOf(c, cl, time.Second)
	for try := 1; ; try++ {
		wrong := underAttack(t, c, attackFor, attackOrder...)
		if wrong == "" {
			break
		}
		t.Logf("try %d: %s", try, wrong)
		if try == greedyTries {
			t.Fatal("a good client, or the groups, suffer from the attack each time")
		}
	}
}

// besideAttack returns the p99 of a good client of c while an attacker attacks another cluster: what they do to each
// other by being on one host.
func besideAttack(t *testing.T, c, other *clustertest.Cluster, d time.Duration, kind string) time.Duration {
	t.Helper()
	a := startAttack(t, other, kind)
	defer a.stop()
	return quantileOf(0.99, timesOf(c, c.Client(), d))
}

// underAttack has a good client do what it does, beside an attacker that only computes and beside one that
// attacks; then a node is started again. It tells what the attack did to them.
func underAttack(t *testing.T, c *clustertest.Cluster, d time.Duration, kinds ...string) (wrong string) {
	t.Helper()
	cl := c.Client()
	leaders := settledLeaders(c)
	idle := startAttack(t, c, attackNothing)
	before := timesOf(c, cl, d)
	idle.stop()
	a := startAttack(t, c, kinds...)
	cpu := clustertest.ProcessorTime(c)
	began := time.Now()
	during := timesOf(c, cl, d)
	used := (clustertest.ProcessorTime(c) - cpu).Seconds() / time.Since(began).Seconds()
	after := leadershipOf(c)
	attacked := restarted(c)
	text := a.stop()
	calm := restarted(c)
	p50, p99 := quantileOf(0.5, before), quantileOf(0.99, before)
	now50, now99 := quantileOf(0.5, during), quantileOf(0.99, during)
	t.Logf("%s: a set and a get took p50 %v, p99 %v before; p50 %v, p99 %v meanwhile, %.2f times; the nodes used %.2f processors; a node that is started again meets the others after %v, %v without an attack",
		text, p50, p99, now50, now99, float64(now99)/float64(p99), used, attacked.Round(time.Millisecond), calm.Round(time.Millisecond))
	most := attackTimes * p99
	if *handshakesFor == 0 {
		most = max(most, attackMax)
	}
	if now99 > most {
		wrong = fmt.Sprintf("p99 was %v, and is %v; want %v at most", p99, now99, most)
	}
	if after != leaders {
		wrong += fmt.Sprintf("\nleaders before: %s\nafter:          %s", leaders, after)
	}
	// A handshake that gets no turn is given up after HelloTimeout.
	if attacked > calm+wire.HelloTimeout {
		wrong += fmt.Sprintf("\na node meets the others after %v, %v without an attack", attacked, calm)
	}
	return wrong
}

// settledLeaders waits until no group has changed its leader for a while, and returns who leads: a node that was
// started again is given some back.
func settledLeaders(c *clustertest.Cluster) (leaders string) {
	c.T.Helper()
	const still = 3 * time.Second
	since := time.Now()
	c.Until("leads stand still", func(context.Context) error {
		if now := leadershipOf(c); now != leaders {
			leaders, since = now, time.Now()
		}
		if time.Since(since) < still {
			return errors.New("they have changed a moment ago")
		}
		return nil
	})
	return leaders
}

// restarted has a node killed and started again, and returns how long it takes from its start until each
// of the nodes reaches the others.
func restarted(c *clustertest.Cluster) time.Duration {
	c.T.Helper()
	c.Kill(2)
	began := time.Now()
	c.Start(2)
	cl := c.Client()
	for i, p := range c.Nodes {
		c.Until(fmt.Sprintf("n%d reaches the others", i+1), func(ctx context.Context) error {
			a, err := cl.Status(ctx, p.Addr)
			if err != nil {
				return err
			}
			if !a.Healthy {
				return fmt.Errorf("problems: %v", a.Problems)
			}
			return nil
		})
	}
	return time.Since(began)
}
