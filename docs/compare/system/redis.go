package system

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"muster/docs/compare/frame"
)

// Redis is one server: no other has a copy.
type Redis struct {
	group
	addr string
}

const redisProgram = "redis-server"

// RedisInstalled returns an error if there is no Redis on this machine.
func RedisInstalled() error {
	_, err := exec.LookPath(redisProgram)
	return err
}

// Name is "redis".
func (r *Redis) Name() string { return "redis" }

// Start starts a server with an append-only file that is synced before an answer
// leaves (appendfsync always). Files that it would write from time to time
// besides (save) are off; it rewrites the append-only file when it ships to.
func (r *Redis) Start(dir string) error {
	r.restart(dir)
	addrs, err := freeAddresses(1)
	if err != nil {
		return err
	}
	r.addr = addrs[0]
	_, err = r.RestartAll()
	return err
}

// RestartAll starts the server, and waits until it has loaded its file.
func (r *Redis) RestartAll() (time.Duration, error) {
	host, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = r.begin(0, redisProgram, "--bind", host, "--port", port, "--dir", r.data(0), "--daemonize", "no",
		"--appendonly", "yes", "--appendfsync", "always", "--save", "")
	if err != nil {
		return 0, err
	}
	err = await("redis is not ready", func() error {
		c, err := dialRedis(r.addr, 1)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.do(0, "PING")
		return err
	})
	return time.Since(began), err
}

// Open opens connections on which requests of several callers are pipelined.
func (r *Redis) Open(callers int) (Client, error) { return dialRedis(r.addr, connections(callers)) }

// redisClient speaks RESP, the protocol of Redis: answers come in the order of
// the requests.
type redisClient struct{ conns []*redisConn }

// redisConn lets callers share a connection. A caller that asks puts its channel
// into the queue, in the order of the requests.
type redisConn struct {
	net.Conn
	out     *frame.Outbox
	waiting chan chan redisAnswer // from callers, to the reader; closed by nobody
	gone    chan struct{}         // closed by the reader when it ends
}

type redisAnswer struct {
	found bool // false for a key that is missing
	err   error
}

// waitingMax bounds the requests that are open on a connection. No loop has so
// many callers.
const waitingMax = 1 << 14

func dialRedis(addr string, connections int) (*redisClient, error) {
	c := &redisClient{}
	for range connections {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			c.Close()
			return nil, err
		}
		one := &redisConn{
			Conn: nc, out: frame.NewOutbox(nc), waiting: make(chan chan redisAnswer, waitingMax), gone: make(chan struct{}),
		}
		go one.read()
		c.conns = append(c.conns, one)
	}
	return c, nil
}

func (c *redisClient) Close() {
	for _, one := range c.conns {
		one.out.Close()
		one.Conn.Close()
	}
}

// Put sets a key.
func (c *redisClient) Put(caller int, key, value []byte) error {
	_, err := c.do(caller, "SET", key, value)
	return err
}

// Get reads a key.
func (c *redisClient) Get(caller int, key []byte) error {
	found, err := c.do(caller, "GET", key)
	if err == nil && !found {
		return missing(key)
	}
	return err
}

func (c *redisClient) do(caller int, command string, args ...[]byte) (found bool, err error) {
	one := c.conns[caller%len(c.conns)]
	mine := make(chan redisAnswer, 1)
	one.out.Add(func(b []byte) []byte {
		// Within Add nobody else appends: the queue has the same order.
		one.waiting <- mine
		return appendCommand(b, command, args...)
	})
	select {
	case a := <-mine:
		return a.found, a.err
	case <-one.gone:
		return false, errors.New("the connection to redis broke")
	}
}

// appendCommand appends an array of strings: the command and its arguments.
func appendCommand(b []byte, command string, args ...[]byte) []byte {
	b = fmt.Appendf(b, "*%d\r\n$%d\r\n%s\r\n", 1+len(args), len(command), command)
	for _, a := range args {
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(len(a)), 10)
		b = append(b, "\r\n"...)
		b = append(b, a...)
		b = append(b, "\r\n"...)
	}
	return b
}

func (one *redisConn) read() {
	defer close(one.gone)
	r := bufio.NewReaderSize(one.Conn, 64<<10)
	var value []byte
	for {
		a, err := readAnswer(r, &value)
		if err != nil {
			return
		}
		// Each answer has a request, which is in the queue before it leaves.
		(<-one.waiting) <- a
	}
}

// readAnswer reads one answer: a status, an error, or a string, which it puts
// into value.
func readAnswer(r *bufio.Reader, value *[]byte) (redisAnswer, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return redisAnswer{}, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch {
	case strings.HasPrefix(line, "+"):
		return redisAnswer{found: true}, nil
	case strings.HasPrefix(line, "-"):
		return redisAnswer{err: errors.New("redis: " + line[1:])}, nil
	case strings.HasPrefix(line, "$"):
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return redisAnswer{}, err // $-1: there is no such string
		}
		*value = append((*value)[:0], make([]byte, n+len("\r\n"))...)
		_, err = io.ReadFull(r, *value)
		return redisAnswer{found: true}, err
	}
	return redisAnswer{}, fmt.Errorf("redis answered %q", line)
}
